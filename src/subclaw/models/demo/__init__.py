"""The demo model: a fixed script that plays through the real tools, so that subclaw can be tried with no key."""
