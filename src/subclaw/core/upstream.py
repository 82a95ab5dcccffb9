"""Upstreams: services that the control plane itself calls through the gateway, and what is put into those calls.

Decisions are values with reasons, never exceptions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from subclaw.core.errors import Invalid

_BASE_URL = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#]*)?")


class Injection(StrEnum):
    """How a secret enters a request; `MESSAGE` is for WebSockets whose first messages say who the client is."""

    BEARER = "bearer"
    HEADER = "header"
    BASIC = "basic"
    PATH = "path"
    QUERY = "query"
    MESSAGE = "message"


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A service that the control plane may call through the gateway.

    `base_url` is where it lives (https, or http for a local one); `name` is the first segment of the path by which the
    gateway is asked. `secret` names the secret to put in; None puts nothing in. `scheme` is for `Injection.BEARER`: the
    word before the secret. `header` is for `Injection.HEADER`, `user` for `Injection.BASIC`, `segment` for
    `Injection.PATH`: the one that follows the base path, such as `bot{}`. `parameter` is for `Injection.QUERY`; one of
    that name in the call is replaced. `member` is for `Injection.MESSAGE`: where in a JSON message of the client's the
    placeholder stands. Such an upstream takes WebSockets and nothing else, and no other takes them.
    """

    name: str
    base_url: str
    injection: Injection = Injection.BEARER
    secret: str | None = None
    scheme: str = "Bearer"
    header: str = ""
    user: str = ""
    segment: str = "{}"
    parameter: str = ""
    member: tuple[str, ...] = ()
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


def read_base_url(given: Mapping[str, str], name: str, default: str) -> str:
    """Return the base URL in a variable, without a slash at its end. Errors: `Invalid`, which names the variable."""
    url = given.get(name, default).rstrip("/")
    if url and not _BASE_URL.fullmatch(url):
        raise Invalid(f"{name} is {url!r}; it must be an http or https URL.")
    return url
