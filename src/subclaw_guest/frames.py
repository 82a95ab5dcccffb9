"""Frames between a host and a machine's agent: length-prefixed and multiplexed. No I/O.

A frame is a header (stream, kind, payload length; 9 bytes, big-endian) and a payload. The host opens streams, numbered
from 1 and never used again. On a stream both ends send DATA within the credit that the other granted, END when they
will send no more, and the agent closes it with RESULT or ERROR. CANCEL from the host closes it at once.

The parser trusts nothing: it raises on whatever breaks these rules, and holds at most one frame that is not complete.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("!IBI")
CREDIT = struct.Struct("!I")
MAX_PAYLOAD_BYTES = 65_536
WINDOW_BYTES = 262_144
"""Credit that each end has on a stream from its start, and the most that it may ever have."""


class FrameError(Exception):
    """The other end broke the rules of the wire."""


class Kind(IntEnum):
    """What a frame is for."""

    OPEN = 1
    DATA = 2
    CREDIT = 3
    END = 4
    RESULT = 5
    ERROR = 6
    CANCEL = 7


EMPTY_KINDS = frozenset({Kind.END, Kind.CANCEL})


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame. `stream` is from 1 to 2**32 - 1."""

    stream: int
    kind: Kind
    payload: bytes = b""


def credit(stream: int, size_bytes: int) -> Frame:
    """Let the other end send `size_bytes` more on a stream."""
    return Frame(stream=stream, kind=Kind.CREDIT, payload=CREDIT.pack(size_bytes))


def credit_bytes(frame: Frame) -> int:
    """Read how much a CREDIT frame grants."""
    size: int = CREDIT.unpack(frame.payload)[0]
    return size


def encode(frame: Frame) -> bytes:
    """Turn a frame into bytes. Raises `FrameError` for a frame that the other end would refuse."""
    check(frame.stream, frame.kind, len(frame.payload))
    return HEADER.pack(frame.stream, frame.kind, len(frame.payload)) + frame.payload


def check(stream: int, kind: int, size_bytes: int) -> Kind:
    """Return the kind if a header makes sense; raise `FrameError` otherwise."""
    if not 0 < stream < 2**32:
        raise FrameError("a stream number is out of range")
    if not Kind.OPEN <= kind <= Kind.CANCEL:
        raise FrameError("a frame is of no known kind")
    if size_bytes > MAX_PAYLOAD_BYTES:
        raise FrameError("a frame is too large")
    if (kind in EMPTY_KINDS and size_bytes) or (kind == Kind.CREDIT and size_bytes != CREDIT.size):
        raise FrameError("a frame has the wrong size for its kind")
    if kind == Kind.DATA and not size_bytes:
        raise FrameError("a frame holds no data")
    return Kind(kind)


class Parser:
    """Turns bytes, in whatever pieces they come, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def held_bytes(self) -> int:
        """How many bytes wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that they complete. Raises `FrameError`; the parser is then of no use."""
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            stream, number, size = HEADER.unpack_from(self._buffer, start)
            kind = check(stream, number, size)
            end = start + HEADER.size + size
            if end > len(self._buffer):
                break
            frames.append(Frame(stream=stream, kind=kind, payload=bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return frames
