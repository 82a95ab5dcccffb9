"""Channels: the ways in which people reach their agents. Each verifies, hands in, and then acknowledges."""
