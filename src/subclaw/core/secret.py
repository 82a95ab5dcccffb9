"""A secret: a value that only the egress gateway can open; everybody else knows its name and its seal."""

from dataclasses import dataclass

PLACEHOLDER = "subclaw-placeholder"
"""What stands where a key would, until the gateway takes it out and puts the real one in."""


@dataclass(frozen=True, kw_only=True)
class SealedSecret:
    """A secret as it is stored. `sealed` is a libsodium sealed box to the gateway's public key."""

    name: str
    sealed: bytes
