"""The machines' only DNS: it answers everything by itself and asks nobody, so that no question leaves this host.

Where a connection goes is decided later, by the name it asks for in TLS or HTTP. So every full hostname has one
address, made up from 198.18.0.0/15 (RFC 2544), whether it is allowed or not, and whether it exists or not.
Source: RFC 1035, section 4; RFC 6891 (EDNS); RFC 6761, 6762, 7686, 8375 and 9476 (names of special use).
"""

import hashlib
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from subclaw.core.completion import HOST
from subclaw.core.errors import Invalid
from subclaw.core.hostname import full_hostname

TTL_S = 60
PAYLOAD_BYTES = 1_232
"""The largest message that we take; it fits into one packet everywhere (DNS flag day 2020)."""
_HEADER = struct.Struct(">6H")
_OPT = struct.Struct(">BHHIH")
_NO_ERROR, _MALFORMED, _NO_SUCH_NAME, _NOT_IMPLEMENTED, _BAD_VERSION = 0, 1, 3, 4, 16
_A, _OPT_TYPE = 1, 41
_META_TYPES = range(128, 255)
"""Questions that are about a server and not about a name: transfers of zones, signatures (RFC 6895, section 3.1)."""
_INTERNET = 1
_RESPONSE, _RECURSION_DESIRED, _RECURSION_AVAILABLE, _CHECKING_DISABLED = 0x8000, 0x0100, 0x0080, 0x0010
_DNSSEC_OK = 0x8000
_QUESTION_AT = 0xC000 | _HEADER.size
_FIRST_ADDRESS = int(IPv4Address("198.18.0.0"))
_NETWORKS = 512
_HOSTS = 254
_NOWHERE = tuple(
    tuple(name.split(b"."))
    for name in (
        *(b"alt", b"arpa", b"internal", b"invalid", b"local", b"localdomain", b"localhost", b"onion"),
        b"use-application-dns.net",  # so a browser is told to ask us, and no resolver of its own over HTTPS
    )
)
_COMPLETIONS = tuple(HOST.encode().split(b"."))
"""The one such name that exists for machines: the gateway answers there."""


class _Malformed(ValueError):
    pass


@dataclass(frozen=True, kw_only=True)
class _Question:
    """`raw` is the question as it came, since the case of its letters may matter to who asks (0x20)."""

    raw: bytes
    labels: tuple[bytes, ...]
    type: int
    network: int


@dataclass(frozen=True, kw_only=True)
class _Extension:
    """What an OPT record says."""

    version: int
    flags: int


def answer(message: bytes, key: bytes) -> bytes | None:
    """Return the answer to a DNS message, or None if it deserves none: it is too short, or is itself an answer.

    `key` (1 to 32 bytes, secret) decides which address a name has. The answer is never much longer than the question.
    """
    if len(message) < _HEADER.size:
        return None
    identity, flags, *counts = _HEADER.unpack_from(message)
    if flags & _RESPONSE:
        return None
    header = (identity, _RESPONSE | (flags & (_RECURSION_DESIRED | _CHECKING_DISABLED)) | _RECURSION_AVAILABLE)
    opcode = (flags >> 11) & 0xF
    if opcode:
        return _built((header[0], header[1] | opcode << 11), _NOT_IMPLEMENTED)
    try:
        question, extension = _read(message, counts)
    except _Malformed:
        return _built(header, _MALFORMED)
    if extension is not None and extension.version != 0:
        return _built(header, _BAD_VERSION, question, extension)
    if question.network != _INTERNET or question.type in _META_TYPES:
        return _built(header, _NOT_IMPLEMENTED, question, extension)
    labels = tuple(label.lower() for label in question.labels)
    if labels != _COMPLETIONS and _is_nowhere(labels):
        return _built(header, _NO_SUCH_NAME, question, extension)
    address = _address(labels, key) if question.type == _A else None
    return _built(header, _NO_ERROR, question, extension, address)


def framed(message: bytes) -> bytes:
    """Return a message as it is sent over TCP, with its length before it (RFC 1035, section 4.2.2)."""
    return len(message).to_bytes(2) + message


def unframed(received: bytes) -> tuple[bytes, bytes] | None:
    """Split the first message, and the rest, off what came over TCP; None if it is not complete (65,537 bytes are)."""
    end = 2 + int.from_bytes(received[:2])
    return (received[2:end], received[end:]) if len(received) >= max(2, end) else None


def _read(message: bytes, counts: list[int]) -> tuple[_Question, _Extension | None]:
    questions, answers, authorities, additional = counts
    if len(message) > PAYLOAD_BYTES or questions != 1 or answers or authorities or additional > 1:
        raise _Malformed
    question = _question(message)
    end = _HEADER.size + len(question.raw)
    extension = _extension(message[end:]) if additional else None
    if (extension is None and end != len(message)) or question.type == _OPT_TYPE:
        raise _Malformed
    return question, extension


def _question(message: bytes) -> _Question:
    at = _HEADER.size
    labels: list[bytes] = []
    while at < len(message) and (size_bytes := message[at]):
        # Two high bits mark a pointer: there is nothing before the first name that it could point to.
        if size_bytes > 63:
            raise _Malformed
        labels.append(message[at + 1 : at + 1 + size_bytes])
        at += 1 + size_bytes
    end = at + 5
    if end > len(message) or end - 4 - _HEADER.size > 255:
        raise _Malformed
    kind, network = struct.unpack_from(">HH", message, at + 1)
    return _Question(raw=message[_HEADER.size : end], labels=tuple(labels), type=kind, network=network)


def _extension(record: bytes) -> _Extension:
    """Read the rest of a message as one OPT record whose options are whole; they are not acted on."""
    if len(record) < _OPT.size:
        raise _Malformed
    root, kind, _, rest, options_bytes = _OPT.unpack_from(record)
    if root != 0 or kind != _OPT_TYPE or _OPT.size + options_bytes != len(record):
        raise _Malformed
    at = _OPT.size
    while at < len(record):
        at += 4 + int.from_bytes(record[at + 2 : at + 4])
    if at != len(record):
        raise _Malformed
    return _Extension(version=(rest >> 16) & 0xFF, flags=rest & 0xFFFF)


def _is_nowhere(labels: tuple[bytes, ...]) -> bool:
    """Tell whether a name cannot exist outside of a network of its own; the root exists."""
    return len(labels) == 1 or any(labels[-len(ending) :] == ending for ending in _NOWHERE)


def _address(labels: tuple[bytes, ...], key: bytes) -> IPv4Address | None:
    """Return the address of a full hostname, the same each time; never the first or the last of a network of 256."""
    try:
        # A dot within a label is not one between two.
        name = full_hostname(b".".join(label.replace(b".", b"_") for label in labels).decode("ascii"))
    except (UnicodeDecodeError, Invalid):
        return None
    digest = hashlib.blake2s(name.encode("ascii"), key=key, digest_size=8).digest()
    network, host = divmod(int.from_bytes(digest) % (_NETWORKS * _HOSTS), _HOSTS)
    return IPv4Address(_FIRST_ADDRESS + network * 256 + 1 + host)


def _built(
    header: tuple[int, int],
    code: int,
    question: _Question | None = None,
    extension: _Extension | None = None,
    address: IPv4Address | None = None,
) -> bytes:
    identity, flags = header
    counts = (question is not None, address is not None, 0, extension is not None)
    pieces = [_HEADER.pack(identity, flags | (code & 0xF), *counts), question.raw if question else b""]
    if address is not None:
        pieces.append(struct.pack(">HHHIH", _QUESTION_AT, _A, _INTERNET, TTL_S, 4) + address.packed)
    if extension is not None:
        pieces.append(_OPT.pack(0, _OPT_TYPE, PAYLOAD_BYTES, (code >> 4) << 24 | (extension.flags & _DNSSEC_OK), 0))
    return b"".join(pieces)
