"""Headers at a hop: what ends there, and what of an answer may be passed back. Pure."""

from collections.abc import Iterable

from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.scrub import blot

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade http2-settings".split()
)
"""Headers that end at the next hop (RFC 9110, section 7.6.1)."""

FRAMING = frozenset(b"content-length transfer-encoding".split())

OVERRIDES = frozenset(b"x-http-method x-http-method-override x-method-override".split())
"""A rule about methods would be void if a server could be told another method in a header."""

_MINTED = frozenset(
    b"set-cookie set-cookie2 authorization x-auth-token x-access-token x-refresh-token x-subject-token".split()
)
_HOP_BY_HOP_OR_MINTED = HOP_BY_HOP | _MINTED


def with_length(headers: Headers, digits: bytes) -> Headers:
    """Return headers with another length of the body."""
    return [(name, digits if name.lower() == b"content-length" else value) for name, value in headers]


def named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Return the header names that `Connection` headers list: they end at this hop too."""
    listed = [value.lower().split(b",") for name, value in headers if len(name) == 10 and name.lower() == b"connection"]
    return frozenset(name.strip() for names in listed for name in names)


def returned(headers: Iterable[tuple[bytes, bytes]], forms: tuple[bytes, ...], *, authorised: bool) -> Headers:
    """Return the headers of an answer as the client gets them, with every form of a secret blotted out.

    Their names come in small letters. Cookies, and tokens in headers, that a server gives to the holder of a secret
    stay here if the request was `authorised` by one: they are credentials too.
    Errors: `Refusal` for a body in an encoding although none was asked for: it could not be searched for the secret.
    """
    received = list(headers)
    names = {name for name, _ in received}
    dropped = _HOP_BY_HOP_OR_MINTED if authorised else HOP_BY_HOP
    if b"connection" in names:
        dropped |= named_by_connection(received)
    kept = received if names.isdisjoint(dropped) else [pair for pair in received if pair[0] not in dropped]
    if not forms and not authorised:
        return kept
    if b"content-encoding" in names and any(
        name == b"content-encoding" and value.lower() not in (b"", b"identity") for name, value in received
    ):
        raise Refusal(502, "the upstream's answer cannot be used: it is encoded, which was not asked for")
    together = b"\n".join([value for _, value in kept])
    found = [form for form in forms if form in together]
    return [(name, blot(value, found)) for name, value in kept] if found else kept
