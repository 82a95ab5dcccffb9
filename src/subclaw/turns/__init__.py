"""Turns: from a message in the inbox to a reply on its way."""
