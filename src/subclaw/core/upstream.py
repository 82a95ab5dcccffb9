"""Upstreams: services that the control plane itself calls through the gateway, and what is put into those calls.

Decisions are values with reasons, never exceptions.
"""

from dataclasses import dataclass
from enum import StrEnum


class Injection(StrEnum):
    """How a secret enters a request."""

    BEARER = "bearer"
    HEADER = "header"
    BASIC = "basic"


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A service that the control plane may call through the gateway.

    `base_url` is where it lives (https, or http for a local one); `name` is the first segment of the path by which the
    gateway is asked. `secret` names the secret to put in; None puts nothing in. `header` is for `Injection.HEADER`,
    `user` for `Injection.BASIC`.
    """

    name: str
    base_url: str
    injection: Injection = Injection.BEARER
    secret: str | None = None
    header: str = ""
    user: str = ""
    methods: tuple[str, ...] = ("GET", "POST")


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """The call may go to `url_path` on `upstream`."""

    upstream: Upstream
    url_path: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The call may not go out; `reason` says why, and holds nothing secret."""

    reason: str


Decision = Allowed | Refused
