"""The gateway's limits of size, number and time."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may take. `idle_s` is the longest silence of either side while a call is under way."""

    head_bytes: int = 16_384
    headers: int = 100
    body_bytes: int = 16 * 1024 * 1024
    gathered_bytes: int = 65_536
    """A request body up to this size is read whole before the upstream is reached."""
    connect_s: float = 10.0
    head_s: float = 10.0
    idle_s: float = 300.0
    client_idle_s: float = 75.0
    """How long a client's connection is kept between requests."""
    linger_s: float = 2.0
    """How long what a client still sends is thrown away after its last answer, so that it gets to read that."""
    pooled: int = 16
    """Idle connections that are kept per upstream."""
    pooled_s: float = 30.0
    connections: int = 4_096
    """Clients' connections at once; each takes at most one to an upstream."""
    informational: int = 8
    """Interim answers (1xx) that an upstream may send before its answer."""


MACHINE_LIMITS = Limits(body_bytes=8 * 2**30)
"""A machine's requests may be as large as its quota: archives and repositories go out."""
