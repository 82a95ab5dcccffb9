"""What an upstream's call becomes: the client's credentials off, the upstream's secret in. Pure."""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_plus

from subclaw.core.errors import Corrupt
from subclaw.core.upstream import Injection, Upstream
from subclaw.egress.control.destination import destination
from subclaw.egress.http.headers import HOP_BY_HOP, OVERRIDES, Headers, named_by_connection
from subclaw.egress.secrets.opened import Opened

_IN_SEGMENT = re.compile(r"[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*")
_REPLACED = frozenset(b"host content-length expect".split())
_CREDENTIALS = frozenset(b"authorization x-api-key x-goog-api-key api-key cookie cookie2".split())
_IN_TARGET = frozenset({Injection.PATH, Injection.QUERY})
_IN_NO_HEADER = _IN_TARGET | {Injection.MESSAGE}
_DROPPED = HOP_BY_HOP | _REPLACED | _CREDENTIALS | OVERRIDES


def outgoing(headers: Iterable[tuple[bytes, bytes]], upstream: Upstream, secret: Opened | None) -> Headers:
    """Return the headers for the upstream, without framing (`Content-Length`, `Transfer-Encoding`).

    Names go out in small letters. Dropped: hop-by-hop headers and those that `Connection` names, every
    header that may carry a credential, and names with an underscore, which some servers take for a hyphen.
    Errors: `Corrupt` for a secret that cannot be part of a header.
    """
    received = [(name.lower(), value) for name, value in headers]
    dropped = _DROPPED | named_by_connection(received)
    if secret is not None:
        dropped |= {b"accept-encoding", upstream.header.lower().encode()}
    kept = [(name, value) for name, value in received if name not in dropped and b"_" not in name]
    host = (b"host", destination(upstream).authority.encode())
    if secret is None:
        return [host, *kept]
    found = [] if upstream.injection in _IN_NO_HEADER else [credential(upstream, secret)]
    return [host, *kept, (b"accept-encoding", b"identity"), *found]


def outgoing_target(url_path: str, upstream: Upstream, secret: Opened | None) -> str:
    """Return the path and query for the upstream. Errors: `Corrupt` for a secret that cannot be part of a path."""
    if secret is None or upstream.injection not in _IN_TARGET:
        return url_path
    value = secret.reveal()
    if upstream.injection is Injection.QUERY:
        path, _, query = url_path.partition("?")
        parameters = [one for one in query.split("&") if one and not _is_named(one, upstream.parameter)]
        found = f"{upstream.parameter}={quote(value, safe='')}"
        return f"{path}?{'&'.join([*parameters, found])}"
    if not _IN_SEGMENT.fullmatch(value):
        raise Corrupt(f"The secret {upstream.secret} holds characters that cannot be sent in a path.")
    base_path = destination(upstream).base_path
    return f"{base_path}/{upstream.segment.format(value)}{url_path[len(base_path) :]}"


def _is_named(parameter: str, name: str) -> bool:
    return unquote_plus(parameter.partition("=")[0]) == name


def credential(upstream: Upstream, secret: Opened) -> tuple[bytes, bytes]:
    """Return the header that carries the secret. Errors: `Corrupt`, naming the secret and not quoting it."""
    value = secret.reveal()
    if upstream.injection is Injection.BASIC:
        pair = f"{upstream.user}:{value}".encode()
        return b"authorization", b"Basic " + base64.b64encode(pair)
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise Corrupt(f"The secret {upstream.secret} holds characters that cannot be sent in a header.")
    if upstream.injection is Injection.BEARER:
        return b"authorization", f"{upstream.scheme} {value}".encode()
    return upstream.header.lower().encode(), value.encode()
