"""A quota: how much a tenant's machine may send and receive."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What a machine may take of the way out: requests a minute, connections at once, bytes a day both ways."""

    requests_per_minute: int = 600
    connections: int = 256
    bytes_per_day: int = 10 * 2**30
