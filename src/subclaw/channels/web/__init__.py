"""The web chat: a page of subclaw's own."""
