"""What the headers of an upstream's call become: the client's credentials off, the upstream's secret in. Pure."""

import base64
from collections.abc import Iterable

from subclaw.core.errors import Corrupt
from subclaw.core.upstream import Injection, Upstream
from subclaw.egress.control.destination import destination
from subclaw.egress.http.headers import HOP_BY_HOP, OVERRIDES, Headers, named_by_connection
from subclaw.egress.secrets.opened import Opened

_REPLACED = frozenset(b"host content-length expect".split())
_CREDENTIALS = frozenset(b"authorization x-api-key x-goog-api-key api-key cookie cookie2".split())
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
    return [host, *kept, (b"accept-encoding", b"identity"), credential(upstream, secret)]


def credential(upstream: Upstream, secret: Opened) -> tuple[bytes, bytes]:
    """Return the header that carries the secret. Errors: `Corrupt`, naming the secret and not quoting it."""
    value = secret.reveal()
    if upstream.injection is Injection.BASIC:
        pair = f"{upstream.user}:{value}".encode()
        return b"authorization", b"Basic " + base64.b64encode(pair)
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise Corrupt(f"The secret {upstream.secret} holds characters that cannot be sent in a header.")
    if upstream.injection is Injection.BEARER:
        return b"authorization", b"Bearer " + value.encode()
    return upstream.header.lower().encode(), value.encode()
