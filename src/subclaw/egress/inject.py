"""What a request's headers become on their way out: the client's credentials off, the upstream's secret in. Pure."""

import base64
from collections.abc import Iterable

from subclaw.core.errors import Corrupt
from subclaw.core.upstream import Injection, Upstream
from subclaw.egress.destination import destination
from subclaw.egress.opened import Opened
from subclaw.egress.refusal import Refusal
from subclaw.egress.scrub import blot

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade http2-settings".split()
)
"""Headers that end at the next hop (RFC 9110, section 7.6.1)."""

_REPLACED = frozenset(b"host content-length expect".split())
_CREDENTIALS = frozenset(b"authorization x-api-key x-goog-api-key api-key cookie cookie2".split())
# A method rule would be void if an upstream could be told another method in a header.
_OVERRIDES = frozenset(b"x-http-method x-http-method-override x-method-override".split())
_MINTED = frozenset(b"set-cookie set-cookie2".split())
_DROPPED = HOP_BY_HOP | _REPLACED | _CREDENTIALS | _OVERRIDES


def outgoing(headers: Iterable[tuple[bytes, bytes]], upstream: Upstream, secret: Opened | None) -> Headers:
    """Return the headers for the upstream, without framing (`Content-Length`, `Transfer-Encoding`).

    Names come in and go out in small letters. Dropped: hop-by-hop headers and those that `Connection` names, every
    header that may carry a credential, and names with an underscore, which some servers take for a hyphen.
    Errors: `Corrupt` for a secret that cannot be part of a header.
    """
    received = list(headers)
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


def named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the header names that `Connection` headers list: they end at this hop too."""
    listed = (value.lower().split(b",") for name, value in headers if name == b"connection")
    return frozenset(name.strip() for names in listed for name in names)


def returned(headers: Iterable[tuple[bytes, bytes]], secret: Opened | None) -> Headers:
    """Return the headers of an answer as the client gets them, the secret blotted out wherever it is reflected.

    Cookies that an upstream sets for the holder of a secret stay here: they are credentials too.
    Errors: `Refusal` for a body in an encoding, although none was asked for: it could not be searched for the secret.
    """
    received = list(headers)
    dropped = HOP_BY_HOP | named_by_connection(received)
    if secret is None:
        return [(name, value) for name, value in received if name not in dropped]
    if any(name == b"content-encoding" and value.lower() not in (b"", b"identity") for name, value in received):
        raise Refusal(502, "the upstream's answer cannot be used: it is encoded, which was not asked for")
    dropped |= _MINTED
    forms = secret.forms
    return [(name, blot(value, forms)) for name, value in received if name not in dropped]
