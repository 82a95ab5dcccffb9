"""A destination: where an upstream lives, checked once when the gateway starts."""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from subclaw.core.errors import Invalid
from subclaw.core.upstream import Injection, Upstream

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_BASE_PATH = re.compile(r"(/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)*")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]*\{\}[A-Za-z0-9_-]*")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SCHEME = re.compile(r"[A-Za-z]{1,32}")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_NOT_FOR_SECRETS = {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A checked base URL. `authority` is the Host header's value; `base_path` is empty or begins with a slash."""

    tls: bool
    host: str
    port: int
    authority: str
    base_path: str


@lru_cache(maxsize=256)
def destination(upstream: Upstream) -> Destination:
    """Check an upstream and return where it lives.

    Errors: `Invalid`, in words for the operator, for a base URL that is not plain http(s), for an injection that lacks
    what it needs, and for a secret that would travel in the clear to another host.
    """
    if not _NAME.fullmatch(upstream.name):
        raise Invalid(f"{upstream.name!r} cannot name an upstream; use small letters, digits, - and _.")
    found = _parse(upstream)
    _check_injection(upstream)
    if upstream.secret and not found.tls and not _is_loopback(found.host):
        raise Invalid(f"Upstream {upstream.name} has a secret, so its base URL must be https or on this host.")
    return found


def _parse(upstream: Upstream) -> Destination:
    wrong = Invalid(f"The base URL of upstream {upstream.name} must look like https://host/path.")
    try:
        parts = urlsplit(upstream.base_url)
        port = parts.port
    except ValueError:
        raise wrong from None
    host, base_path = parts.hostname or "", parts.path.rstrip("/")
    plain = not (parts.query or parts.fragment or parts.username is not None or parts.password is not None)
    if parts.scheme not in ("http", "https") or not plain or port == 0:
        raise wrong
    if not _HOST.fullmatch(host) or not _BASE_PATH.fullmatch(base_path):
        raise wrong
    tls = parts.scheme == "https"
    shown = f"[{host}]" if ":" in host else host
    usual = 443 if tls else 80
    authority = shown if port in (None, usual) else f"{shown}:{port}"
    return Destination(tls=tls, host=host, port=port or usual, authority=authority, base_path=base_path)


def _check_injection(upstream: Upstream) -> None:
    if not _SCHEME.fullmatch(upstream.scheme):
        raise Invalid(f"Upstream {upstream.name} needs a word before its secret, such as Bearer.")
    named = upstream.injection is Injection.HEADER
    if named and (not _HEADER_NAME.fullmatch(upstream.header) or upstream.header.lower() in _NOT_FOR_SECRETS):
        raise Invalid(f"Upstream {upstream.name} needs the name of the header that its secret goes into.")
    basic = upstream.injection is Injection.BASIC
    if basic and (not upstream.user or ":" in upstream.user or not upstream.user.isprintable()):
        raise Invalid(f"Upstream {upstream.name} needs a user name, without a colon, for Basic authentication.")
    if upstream.injection is Injection.PATH and not _SEGMENT.fullmatch(upstream.segment):
        raise Invalid(f"Upstream {upstream.name} needs a path segment with {{}} in the place of its secret.")
    if upstream.injection is Injection.QUERY and not _PARAMETER.fullmatch(upstream.parameter):
        raise Invalid(f"Upstream {upstream.name} needs the name of the parameter that its secret goes into.")
    if upstream.injection is Injection.MESSAGE and not (upstream.member and upstream.secret):
        raise Invalid(f"Upstream {upstream.name} needs a secret, and where in a message it goes.")


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
