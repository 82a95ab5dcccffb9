"""Framing: where a body ends in HTTP/1.1, and how one is written. Pure; for messages whose heads were checked.

Chunks are read strictly: what two parsers could read in two ways is malformed. Source: RFC 9112, sections 6 and 7.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

_LINE_LIMIT_BYTES = 256
_TRAILERS_LIMIT_BYTES = 16_384
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e]*|[ \t]*)")
_UNFINISHED_SIZE = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e]*|[ \t]*)\r?)?")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)++\r\n")


class BadBody(Exception):
    """The bytes are not what the framing says."""


class Framing(NamedTuple):
    """How long a body is: so many bytes, or in chunks, or (neither) until the connection ends."""

    length_bytes: int | None = None
    chunked: bool = False


EMPTY = Framing(length_bytes=0)
CHUNKED = Framing(chunked=True)
UNTIL_END = Framing()


def framing_of(headers: Iterable[tuple[bytes, bytes]], otherwise: Framing) -> Framing:
    """Return what checked headers say of the body; `otherwise` if they say nothing."""
    for name, value in headers:
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            return Framing(length_bytes=int(value))
        if size == 17 and name.lower() == b"transfer-encoding":
            return CHUNKED
    return otherwise


class IncomingBody:
    """A body that is being read."""

    def __init__(self, framing: Framing) -> None:
        self.ended = framing.length_bytes == 0
        self.until_end = framing.length_bytes is None and not framing.chunked
        """Whether only the connection's end ends it."""
        self._left_bytes = framing.length_bytes or 0
        self._chunks = _Chunks() if framing.chunked else None

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Take what came in; return what of it is content, and what follows the body. Errors: `BadBody`."""
        if self._chunks is not None:
            content, rest = self._chunks.take(data)
            self.ended = self._chunks.ended
            return content, rest
        if self.until_end:
            return data, b""
        content, rest = data[: self._left_bytes], data[self._left_bytes :]
        self._left_bytes -= len(content)
        self.ended = not self._left_bytes
        return content, rest

    def end(self) -> None:
        """Take the connection's end. Errors: `BadBody` for a body that breaks off."""
        if not self.until_end:
            raise BadBody
        self.ended = True


class OutgoingBody:
    """A body that is being written. Errors: `ValueError` if it becomes shorter or longer than its head says."""

    def __init__(self, framing: Framing) -> None:
        self.ended = False
        self._chunked = framing.chunked
        self._left_bytes = framing.length_bytes or 0

    def piece(self, content: bytes) -> bytes:
        """Return the bytes of a piece, which may be empty."""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(content), content) if content else b""
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise ValueError("the body is longer than its head says")
        return content

    def end(self) -> bytes:
        """Return the bytes of the end."""
        if self._left_bytes:
            raise ValueError("the body is shorter than its head says")
        self.ended = True
        return b"0\r\n\r\n" if self._chunked else b""


class _Chunks:
    """Chunks that are being read. Their extensions and the trailers are dropped."""

    def __init__(self) -> None:
        self.ended = False
        self._held = b""
        self._left_bytes = 0
        self._next: Callable[[_Chunks, bytes, int], int | None] = _Chunks._size

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """See `IncomingBody.take`."""
        data, at, content = self._held + data, 0, []
        while not self.ended:
            if self._left_bytes:
                piece = data[at : at + self._left_bytes]
                content.append(piece)
                self._left_bytes -= len(piece)
                at += len(piece)
            if self._left_bytes or (after := self._next(self, data, at)) is None:
                break
            at = after
        self._held, rest = (b"", data[at:]) if self.ended else (data[at:], b"")
        return b"".join(content), rest

    def _size(self, data: bytes, at: int) -> int | None:
        """Read a chunk's first line; return where it ends, or None if not all of it is there."""
        end = data.find(b"\r\n", at, at + _LINE_LIMIT_BYTES)
        if end < 0:
            if len(data) - at >= _LINE_LIMIT_BYTES or not _UNFINISHED_SIZE.fullmatch(data, at):
                raise BadBody
            return None
        size = _SIZE.fullmatch(data, at, end)
        if size is None:
            raise BadBody
        self._left_bytes = int(size[1], 16)
        self._next = _Chunks._after if self._left_bytes else _Chunks._trailers
        return end + 2

    def _after(self, data: bytes, at: int) -> int | None:
        """Read what ends a chunk."""
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise BadBody
        if len(end) < 2:
            return None
        self._next = _Chunks._size
        return at + 2

    def _trailers(self, data: bytes, at: int) -> int | None:
        """Read what follows the last chunk."""
        if data.startswith(b"\r\n", at):
            self.ended = True
            return at + 2
        end = data.find(b"\r\n\r\n", at, at + _TRAILERS_LIMIT_BYTES)
        if end < 0:
            if len(data) - at >= _TRAILERS_LIMIT_BYTES:
                raise BadBody
            return None
        if not _TRAILERS.fullmatch(data, at, end + 4):
            raise BadBody
        self.ended = True
        return end + 4
