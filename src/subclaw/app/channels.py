"""Which channels have their replies read in place, and which have them sent."""

from subclaw.channels.sms_text import PART_LIMIT

READ_IN_PLACE = frozenset({"web"})
"""Channels whose replies are read from the transcript; those of others go out by the outbox."""


def goes_out(channel: str) -> bool:
    """Say whether a channel's replies go out by the outbox."""
    return channel not in READ_IN_PLACE


_LIMITS_CHARACTERS = {"sms": 3 * PART_LIMIT}
"""How long a reply may be that goes out in parts: nobody reads ten text messages. There is no limit for others."""


def limit_characters(channel: str) -> int | None:
    """Return how long a channel's replies may be, or None if there is no limit."""
    return _LIMITS_CHARACTERS.get(channel)
