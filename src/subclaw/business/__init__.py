"""Agents of businesses: their folders, versions, tools, and how they are tried out."""
