"""Which channels have their replies read in place, and which have them sent."""

READ_IN_PLACE = frozenset({"web"})
"""Channels whose replies are read from the transcript; those of others go out by the outbox."""


def goes_out(channel: str) -> bool:
    """Say whether a channel's replies go out by the outbox."""
    return channel not in READ_IN_PLACE
