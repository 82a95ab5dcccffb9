"""The client's first words in TLS: whom it wants to speak to, read before anything is decided.

Strict and bounded: what is malformed, or what two servers could read differently, is refused.
Source: RFC 8446, sections 4.1.2 and 5.1; RFC 5246, section 7.4.1.2; RFC 6066, section 3; RFC 7301, section 3.1.
"""

from dataclasses import dataclass

from subclaw.core.errors import Invalid
from subclaw.core.hostname import full_hostname

HELLO_LIMIT_BYTES = 16_384
"""The largest hello that is read; one with post-quantum key shares takes about 1,800 bytes."""
RECORDS_LIMIT = 16
"""In how many records a hello may come."""
_RECORD_LIMIT_BYTES = 16_384
_RECORD_HEADER_BYTES = 5
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_VERSIONS = (0x0301, 0x0302, 0x0303)
_SERVER_NAME, _ALPN, _ENCRYPTED_HELLO = 0, 16, 0xFE0D


class BadHello(ValueError):
    """What came is not a ClientHello that can be trusted; the message says why, without the client's words."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What a ClientHello asks for.

    `server_name` is a full hostname in lower-case ASCII, or None if there is none. `encrypted` says that an
    encrypted_client_hello extension is there: another name may be hidden in it, or noise (browsers always send one).
    """

    server_name: str | None
    alpn: tuple[bytes, ...]
    encrypted: bool


class _Cursor:
    """Bytes that are read once, from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size_bytes: int) -> bytes:
        piece = self._data[self._at : self._at + size_bytes]
        if len(piece) < size_bytes:
            raise BadHello("a length in the hello is larger than what is there")
        self._at += size_bytes
        return piece

    def number(self, size_bytes: int) -> int:
        return int.from_bytes(self.take(size_bytes))

    def vector(self, length_bytes: int) -> bytes:
        """Return what a length of so many bytes announces."""
        return self.take(self.number(length_bytes))


def read_hello(data: bytes) -> Hello | None:
    """Read the ClientHello that a connection begins with; None if `data`, which is all so far, ends too early.

    None comes back for less than `HELLO_LIMIT_BYTES` and the headers of `RECORDS_LIMIT` records alone. What follows the
    hello's last record is not looked at. Errors: `BadHello`, as soon as it is sure.
    """
    message = _message(data)
    return None if message is None else _hello(_Cursor(message))


def _message(data: bytes) -> bytes | None:
    """Return the body of the handshake message, joined from its records, or None if it is not complete."""
    joined = b""
    at = 0
    for _ in range(RECORDS_LIMIT):
        header = data[at : at + _RECORD_HEADER_BYTES]
        _check_record(header)
        if len(header) < _RECORD_HEADER_BYTES:
            return None
        at += _RECORD_HEADER_BYTES
        end = at + int.from_bytes(header[3:])
        joined += data[at:end]
        wanted = _message_bytes(joined)
        if wanted is not None and len(joined) + max(0, end - len(data)) > wanted:
            raise BadHello("something follows the hello in its record")
        if end > len(data):
            return None
        if wanted == len(joined):
            return joined[4:]
        at = end
    raise BadHello("the hello comes in too many pieces")


def _check_record(header: bytes) -> None:
    """Check as much of a record's header as has come."""
    if header and header[0] != _HANDSHAKE:
        raise BadHello("that is not TLS, or not its beginning")
    if len(header) >= 3 and int.from_bytes(header[1:3]) not in _VERSIONS:
        raise BadHello("the record is of an unknown version")
    if len(header) == _RECORD_HEADER_BYTES and not 0 < int.from_bytes(header[3:]) <= _RECORD_LIMIT_BYTES:
        raise BadHello("the record is empty or too long")


def _message_bytes(joined: bytes) -> int | None:
    """Return how long the handshake message is, with its header, or None if that has not come."""
    if joined and joined[0] != _CLIENT_HELLO:
        raise BadHello("the handshake does not begin with a ClientHello")
    if len(joined) < 4:
        return None
    size_bytes = 4 + int.from_bytes(joined[1:4])
    if size_bytes > HELLO_LIMIT_BYTES:
        raise BadHello("the hello is too long")
    return size_bytes


def _hello(body: _Cursor) -> Hello:
    if body.number(2) not in _VERSIONS:
        raise BadHello("the hello is of an unknown version")
    body.take(32)  # random
    if len(body.vector(1)) > 32:
        raise BadHello("the session's identifier is too long")
    suites = body.vector(2)
    if not suites or len(suites) % 2:
        raise BadHello("the list of cipher suites is malformed")
    if 0 not in body.vector(1):
        raise BadHello("the list of compression methods is malformed")
    extensions = _extensions(body)
    name, protocols = extensions.get(_SERVER_NAME), extensions.get(_ALPN)
    return Hello(
        server_name=None if name is None else _server_name(name),
        alpn=() if protocols is None else _protocols(protocols),
        encrypted=_ENCRYPTED_HELLO in extensions,
    )


def _extensions(body: _Cursor) -> dict[int, bytes]:
    """Return the extensions by type; before TLS 1.3 there need be none at all."""
    if not body:
        return {}
    block = _Cursor(body.vector(2))
    if body:
        raise BadHello("something follows the extensions")
    found: dict[int, bytes] = {}
    while block:
        kind = block.number(2)
        if kind in found:
            raise BadHello("an extension is there twice")
        found[kind] = block.vector(2)
    return found


def _server_name(extension: bytes) -> str:
    outer = _Cursor(extension)
    names = _Cursor(outer.vector(2))
    kind, raw = names.number(1), names.vector(2)
    if outer or names:
        raise BadHello("there is more than one server name")
    if kind != 0:
        raise BadHello("the server's name is of an unknown kind")
    try:
        text = raw.decode("ascii")
        if text.endswith("."):
            raise BadHello("the server's name ends with a dot")
        return full_hostname(text)
    except (UnicodeDecodeError, Invalid):
        raise BadHello("the server's name is not a full hostname") from None


def _protocols(extension: bytes) -> tuple[bytes, ...]:
    outer = _Cursor(extension)
    names = _Cursor(outer.vector(2))
    protocols: list[bytes] = []
    while names:
        protocols.append(names.vector(1))
    if outer or not protocols or b"" in protocols:
        raise BadHello("the list of protocols is malformed")
    return tuple(protocols)
