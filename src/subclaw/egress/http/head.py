"""The strict reading of HTTP/1.1 heads: what two parsers could understand differently is refused.

These checks run on the raw bytes, so that nothing is forgiven before it is seen: a bare LF, a folded line, blanks
before a colon, repeated lengths.
Source: RFC 9112, sections 2.2, 3, 5, 6 and 11.2.
"""

import re
from collections.abc import Collection

from subclaw.egress.http.headers import FRAMING, named_by_connection

END = b"\r\n\r\n"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# Methods are in capitals: to some servers "delete" is DELETE, and to a rule about methods it would not be.
_REQUEST_LINE = re.compile(rb"[A-Z][A-Z-]{0,31} [\x21-\x7e]+ HTTP/1\.1\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?\r\n")
_REQUEST_FIELDS = re.compile(rb"(?:" + _TOKEN + rb"++:[\t\x20-\x7e]*+\r\n)*+\r\n")
_RESPONSE_FIELDS = re.compile(rb"(?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
_SOUND = re.compile(_TOKEN + rb"{1,32} [\x21-\x7e]+ HTTP/1\.1\r\n" + _RESPONSE_FIELDS.pattern)
_LENGTH = re.compile(rb"[0-9]{1,15}")
HOST = re.compile(rb"[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")
_LENGTH_LINE = b"\r\ncontent-length:"
_BARE_LF = re.compile(rb"(?<!\r)\n")

_UPGRADES = frozenset((b"upgrade", b"http2-settings"))
_HANDSHAKE = frozenset((b"upgrade", b"connection", b"sec-websocket-version", b"http2-settings"))
_END_TO_END = frozenset((b"host", b"content-length", b"transfer-encoding"))
"""What `Connection` must not name: whoever then drops it reads another request."""

Fields = list[tuple[bytes, bytes]]

Likeness = tuple[bytes, bytes | None]
"""The bytes of a sound head before and after the digits of its Content-Length; the whole head and None without one."""


def unfinished_problem(start: bytes) -> str | None:
    """Say what is already wrong with the beginning of a head, so that nobody waits for its end."""
    if _BARE_LF.search(start):
        return "a line ends without a carriage return"
    if b"\r\n" in start and not (_REQUEST_LINE.match(start) or _STATUS_LINE.match(start)):
        return "the first line is malformed"
    return None


def likeness_of(head: bytes) -> tuple[Likeness, bytes]:
    """Return all of a complete head but the length of its body, and the digits of that, if it says one.

    Any other digits in their place make another head that is as sound, and asks for the same.
    """
    line = head.lower().find(_LENGTH_LINE)
    if line < 0:
        return (head, None), b""
    start, end = line + len(_LENGTH_LINE), head.index(b"\r\n", line + 2)
    digits = head[start:end].lstrip(b" ")
    if not _LENGTH.fullmatch(digits):
        return (head, None), b""
    return (head[: end - len(digits)], head[end:]), digits


def read_headers(head: bytes) -> Fields:
    """Return the headers of a complete head that is sound; of another one, anything."""
    return [(name, value.strip(b" \t")) for name, _, value in _parted(head)]


def read_lowered(head: bytes) -> Fields:
    """Return the same with their names in small letters."""
    return [(name.lower(), value.strip(b" \t")) for name, _, value in _parted(head)]


def _parted(head: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [line.partition(b":") for line in head[: -len(END)].split(b"\r\n")[1:]]


def request_problem(
    head: bytes, headers_limit: int, *, websockets: bool = False, headers: Fields | None = None
) -> tuple[int, str] | None:
    """Return the status and the reason to refuse a complete request head with, or None if it is sound.

    `headers` are what `read_headers` says, if it was asked before. With `websockets`, a request may ask to go on as a
    WebSocket; no other change of protocol is ever allowed.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        return 400, "the request line is malformed"
    if not _REQUEST_FIELDS.fullmatch(head, line.end()):
        return 400, _why(head[line.end() :])
    fields = read_lowered(head) if headers is None else [(name.lower(), value) for name, value in headers]
    if len(fields) > headers_limit:
        return 431, "there are too many headers"
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        return 400, "there must be one Host header with a host's name"
    if not _UPGRADES.isdisjoint([name for name, _ in fields]) and not (websockets and wants_websocket(head, fields)):
        return 400, "this connection cannot be upgraded"
    if head.startswith((b"CONNECT ", b"TRACE ")):
        return 405, "that method is not allowed"
    if named_by_connection(fields) & _END_TO_END:
        return 400, "Connection names a header that is for everybody"
    framing = framing_problem(fields)
    return (400, framing) if framing else None


def sound_request(head: bytes) -> bool:
    """Return whether what goes out is one head and nothing else, however it was put together."""
    return _SOUND.fullmatch(head) is not None


def wants_websocket(head: bytes, fields: Collection[tuple[bytes, bytes]]) -> bool:
    """Return whether a request asks to go on as a WebSocket, and nothing else (RFC 6455, section 4.1)."""
    given = [(name.lower(), value.lower()) for name, value in fields if name.lower() in _HANDSHAKE]
    connection = next((value for name, value in given if name == b"connection"), b"")
    return (
        head.startswith(b"GET ")
        and len(given) == 3
        and (b"upgrade", b"websocket") in given
        and (b"sec-websocket-version", b"13") in given
        and b"upgrade" in [part.strip() for part in connection.split(b",")]
        and not any(name.lower() in FRAMING for name, _ in fields)
    )


def response_problem(
    head: bytes, headers_limit: int, *, upgrade: bool = False, headers: Fields | None = None
) -> str | None:
    """Return why a complete response head cannot be trusted, or None if it is sound.

    `headers` are what `read_lowered` says, if it was asked before. With `upgrade`, it may be 101: that was
    asked for.
    """
    line = _STATUS_LINE.match(head)
    if line is None:
        return "the status line is malformed"
    if head.startswith(b"101", 9) and not upgrade:
        return "a change of protocol that nobody asked for"
    if not _RESPONSE_FIELDS.fullmatch(head, line.end()):
        return _why(head[line.end() :])
    fields = read_lowered(head) if headers is None else headers
    if len(fields) > headers_limit:
        return "there are too many headers"
    return framing_problem(fields)


def framing_problem(fields: Fields) -> str | None:
    """Say why the length of a body would be open to doubt; names are in small letters."""
    given = [field for field in fields if field[0] in FRAMING]
    if not given:
        return None
    lengths = [value for name, value in given if name == b"content-length"]
    codings = [value for name, value in given if name == b"transfer-encoding"]
    if lengths and codings:
        return "both Content-Length and Transfer-Encoding are given"
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        return "Content-Length is not one number"
    if len(codings) > 1 or (codings and codings[0].lower() != b"chunked"):
        return "Transfer-Encoding is not chunked alone"
    return None


def _why(fields: bytes) -> str:
    if _BARE_LF.search(fields):
        return "a line ends without a carriage return"
    if re.search(rb"\r\n[ \t]", fields) or fields.startswith((b" ", b"\t")):
        return "a header is folded"
    return "a header is malformed"
