"""Hellos of TLS for tests: real ones, as OpenSSL makes them, and ones put together by hand."""

import ssl
import struct
from collections.abc import Iterable, Sequence

RANDOM = bytes(range(32))


def client_hello(
    name: str | None = "api.test",
    *,
    alpn: Sequence[str] = (),
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "DEFAULT@SECLEVEL=0",
) -> bytes:
    """Return what OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version, context.maximum_version = lowest, highest
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("nobody answered, so the handshake cannot be over")


def message_of(hello: bytes) -> bytes:
    """Return the handshake message that one record holds."""
    return hello[5:]


def records(message: bytes, size_bytes: int = 16_384, version: int = 0x0301) -> bytes:
    """Return a handshake message cut into records."""
    pieces = [message[at : at + size_bytes] for at in range(0, len(message), size_bytes)]
    return b"".join(struct.pack(">BHH", 22, version, len(piece)) + piece for piece in pieces)


def built(
    extensions: Iterable[tuple[int, bytes]] | None = (),
    *,
    version: int = 0x0303,
    session: bytes = b"",
    suites: bytes = b"\x13\x01",
    compression: bytes = b"\0",
    tail: bytes = b"",
) -> bytes:
    """Return a handshake message; without extensions (None) it has not even an empty list of them."""
    body = struct.pack(">H", version) + RANDOM + vector(session, 1) + vector(suites, 2) + vector(compression, 1)
    if extensions is not None:
        body += vector(b"".join(struct.pack(">H", kind) + vector(value, 2) for kind, value in extensions), 2)
    return b"\x01" + vector(body + tail, 3)


def server_name(name: bytes, *, kind: int = 0) -> bytes:
    """Return the value of a server_name extension."""
    return vector(bytes([kind]) + vector(name, 2), 2)


def vector(value: bytes, length_bytes: int) -> bytes:
    """Return a value with its length before it."""
    return len(value).to_bytes(length_bytes) + value
