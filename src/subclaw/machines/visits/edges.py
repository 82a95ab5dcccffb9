"""Where a stream of answers may be ended properly: between the frames of a WebSocket, between the chunks of events.

Only headers are looked at; what is in frames and chunks passes by uncounted but for its length.
"""

from typing import Protocol

GOING_AWAY = b"\x88\x02\x03\xe9"
"""A WebSocket's close frame of a server, with code 1001 (RFC 6455 §7.4.1)."""

LAST_CHUNK = b"0\r\n\r\n"
CLOSE = 8
LINE_LIMIT_BYTES = 256


class Edges(Protocol):
    """Follows a stream. `farewell` is what ends it properly where it stands, None where nothing does."""

    def feed(self, content: bytes) -> None:
        """Take the next bytes that were passed on."""
        ...

    def farewell(self) -> bytes | None:
        """Return what ends the stream now."""
        ...


class FrameEdges:
    """The frames of a WebSocket's server (RFC 6455 §5.2)."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._left_bytes = 0
        self._is_closed = False

    def feed(self, content: bytes) -> None:
        """See `Edges`."""
        at = 0
        while at < len(content):
            if self._left_bytes:
                step = min(self._left_bytes, len(content) - at)
                self._left_bytes -= step
                at += step
            else:
                self._header.append(content[at])
                at += 1
                self._begin_frame()

    def farewell(self) -> bytes | None:
        """See `Edges`."""
        return None if self._header or self._left_bytes or self._is_closed else GOING_AWAY

    def _begin_frame(self) -> None:
        """Go on to a frame's content once its header is whole."""
        header = self._header
        if len(header) < 2:
            return
        short = header[1] & 0x7F
        length_bytes = {126: 2, 127: 8}.get(short, 0)
        mask_bytes = 4 if header[1] & 0x80 else 0
        if len(header) < 2 + length_bytes + mask_bytes:
            return
        self._left_bytes = int.from_bytes(header[2 : 2 + length_bytes]) if length_bytes else short
        self._is_closed |= header[0] & 0x0F == CLOSE
        header.clear()


class ChunkEdges:
    """Chunks (RFC 9112 §7.1), of a stream that has no end of its own: events."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._left_bytes = 0
        self._is_lost = False

    def feed(self, content: bytes) -> None:
        """See `Edges`."""
        at = 0
        while at < len(content) and not self._is_lost:
            if self._left_bytes:
                step = min(self._left_bytes, len(content) - at)
                self._left_bytes -= step
                at += step
            else:
                end = content.find(b"\n", at) + 1 or len(content)
                self._line += content[at:end]
                at = end
                self._begin_chunk()

    def farewell(self) -> bytes | None:
        """See `Edges`."""
        return None if self._line or self._left_bytes or self._is_lost else LAST_CHUNK

    def _begin_chunk(self) -> None:
        """Go on to a chunk's content once its first line is whole."""
        if not self._line.endswith(b"\n"):
            self._is_lost = len(self._line) > LINE_LIMIT_BYTES
            return
        try:
            size_bytes = int(self._line.partition(b";")[0], 16)
        except ValueError:
            size_bytes = 0
        self._is_lost = size_bytes <= 0  # the last one, or none at all
        self._left_bytes = size_bytes + len(b"\r\n")
        self._line.clear()


class NoEdges:
    """What is not to be taken for whole when it is cut short: pages, files."""

    def feed(self, content: bytes) -> None:
        """See `Edges`."""

    def farewell(self) -> bytes | None:
        """See `Edges`."""
        return None
