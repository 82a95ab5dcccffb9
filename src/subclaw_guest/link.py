"""Streams over one byte channel, with credit, so that a slow stream never holds up the others or grows memory.

Both ends use this: the host opens streams, the agent answers them. Whatever carries the bytes is given as two coroutine
functions. Everything happens in one event loop; nothing here starts a task of its own.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from subclaw_guest.frames import (
    MAX_PAYLOAD_BYTES,
    WINDOW_BYTES,
    Frame,
    FrameError,
    Kind,
    Parser,
    credit,
    credit_bytes,
    encode,
)

PIECE_BYTES = 32_768
"""The most that one DATA frame carries: small enough for streams to take turns."""

MANY_PIECES, JOINED_BYTES = 16, 2_048
"""Where this many wait, pieces are joined up to this size: those of two bytes take up twenty times what they hold."""

LATE_BYTES = WINDOW_BYTES + 2 * MAX_PAYLOAD_BYTES
"""What may come for a stream after this end has closed it: all the credit that was given, and a result."""

Write = Callable[[bytes], Awaitable[None]]
Read = Callable[[], Awaitable[bytes]]


class LinkClosed(Exception):
    """The other end is gone; whatever was under way on the stream has an unknown outcome."""


class StreamCancelled(Exception):
    """This end cancelled the stream while something waited on it."""


class Stream:
    """One call or connection. At most one coroutine may receive and one may send at a time."""

    def __init__(self, link: "Link", number: int) -> None:
        self.number = number
        self._link = link
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._consumed_bytes = 0
        self._credit_bytes = WINDOW_BYTES
        self._ended = False
        self._final: Frame | None = None
        self._closed = False
        self._cancelled = False
        self._changed = asyncio.Event()

    async def send(self, data: bytes) -> None:
        """Send bytes, waiting for credit. Raises `LinkClosed`; a stream that the other end closed takes no more."""
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            await self._until(partial(self._may_send, len(piece)))
            self._check_open()
            self._credit_bytes -= len(piece)
            await self._link.write(Frame(stream=self.number, kind=Kind.DATA, payload=piece))

    async def end(self) -> None:
        """Say that no more bytes will be sent."""
        await self._link.write(Frame(stream=self.number, kind=Kind.END))

    async def receive(self) -> bytes | None:
        """Return the next bytes, or None when there will be none. Raises `LinkClosed`."""
        await self._until(lambda: bool(self._pieces) or self._ended or self._final is not None)
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self._held_bytes -= len(piece)
        self._consumed_bytes += len(piece)
        if self._consumed_bytes >= WINDOW_BYTES // 2 and self._final is None:
            granted, self._consumed_bytes = self._consumed_bytes, 0
            await self._link.write(credit(self.number, granted))
        return piece

    async def final(self) -> Frame:
        """Wait for the RESULT or ERROR that closes the stream. Raises `LinkClosed`."""
        await self._until(lambda: self._final is not None)
        assert self._final is not None
        return self._final

    async def finish(self, kind: Kind, payload: bytes) -> None:
        """Close the stream from the agent's side with RESULT or ERROR, unless the host has cancelled it."""
        if self._link.forget(self.number):
            await self._link.write(Frame(stream=self.number, kind=kind, payload=payload))

    async def cancel(self) -> None:
        """Close the stream from the host's side, if it is not closed yet, and fail whoever waits on it."""
        self._cancelled = True
        self.close()
        if self._link.forget(self.number):
            await self._link.write(Frame(stream=self.number, kind=Kind.CANCEL))

    def _may_send(self, size_bytes: int) -> bool:
        return self._credit_bytes >= size_bytes

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._check_open()
            self._changed.clear()
            await self._changed.wait()

    def _check_open(self) -> None:
        if self._cancelled:
            raise StreamCancelled
        if self._closed or self._final is not None:
            raise LinkClosed

    def deliver(self, frame: Frame) -> None:
        """Take a frame of this stream. Raises `FrameError` if the other end may not send it now."""
        match frame.kind:
            case Kind.DATA:
                self._take(frame.payload)
            case Kind.CREDIT:
                self._grant(credit_bytes(frame))
            case Kind.END if self._ended:
                raise FrameError("the end came twice")
            case Kind.END:
                self._ended = True
            case _:
                self._final = frame
        self._changed.set()

    def _grant(self, size_bytes: int) -> None:
        self._credit_bytes += size_bytes
        if not size_bytes or self._credit_bytes > WINDOW_BYTES:
            raise FrameError("no credit was granted, or more than there can be")

    def _take(self, data: bytes) -> None:
        if self._ended:
            raise FrameError("data came after its end")
        self._held_bytes += len(data)
        if self._held_bytes + self._consumed_bytes > WINDOW_BYTES:
            raise FrameError("more data came than was allowed")
        if len(self._pieces) >= MANY_PIECES and len(self._pieces[-1]) + len(data) <= JOINED_BYTES:
            self._pieces[-1] += data
        else:
            self._pieces.append(data)

    def close(self) -> None:
        """Fail whoever waits on this stream, once what has come is read."""
        self._closed = True
        self._changed.set()


class Link:
    """All streams of one channel.

    The host calls `open`. The agent gives `on_open` and `on_cancel`, which are called with the stream and the request.
    A host that goes on with an agent, whose machine was saved and restored, gives the `last_number` of the link before.
    Both ends must then be between frames: every stream was cancelled, and a call after that was answered.
    """

    def __init__(
        self,
        write: Write,
        *,
        on_open: Callable[[Stream, bytes], None] | None = None,
        on_cancel: Callable[[Stream], None] | None = None,
        last_number: int = 0,
    ) -> None:
        self._write = write
        self._on_open = on_open
        self._on_cancel = on_cancel
        self._streams: dict[int, Stream] = {}
        self._last_number = last_number
        self._late_bytes = 0
        self._closed = False
        self._writing = asyncio.Lock()

    @property
    def last_number(self) -> int:
        """The number of the stream that was opened last, 0 before the first."""
        return self._last_number

    async def open(self, request: bytes) -> Stream:
        """Open a stream with a request. Raises `LinkClosed`."""
        self._last_number += 1
        stream = Stream(self, self._last_number)
        self._streams[stream.number] = stream
        try:
            # The number is taken and written without a pause between, unless another frame is being written: the lock
            # is fair, so streams are opened on the wire in the order of their numbers.
            await self.write(Frame(stream=stream.number, kind=Kind.OPEN, payload=request))
        except BaseException:
            self.forget(stream.number)
            raise
        return stream

    async def write(self, frame: Frame) -> None:
        """Send one frame whole. Raises `LinkClosed`."""
        if self._closed:
            raise LinkClosed
        async with self._writing:
            try:
                await self._write(encode(frame))
            except OSError as error:
                raise LinkClosed from error

    def forget(self, number: int) -> bool:
        """Drop a stream; say whether it was there. What the other end had under way for it is ignored."""
        if self._streams.pop(number, None) is None:
            return False
        self._late_bytes += LATE_BYTES
        return True

    async def pump(self, read: Read) -> None:
        """Read frames until the channel ends, then fail every stream. Raises `FrameError` if a rule is broken."""
        parser = Parser()
        try:
            while data := await read():
                for frame in parser.feed(data):
                    self._deliver(frame)
        except OSError as error:
            raise LinkClosed from error
        finally:
            self.close()

    async def cancel_all(self) -> None:
        """Cancel every stream that is open, from the host's side. Raises `LinkClosed`."""
        for stream in list(self._streams.values()):
            await stream.cancel()

    def close(self) -> None:
        """Fail every stream; nothing can be sent any more."""
        self._closed = True
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()

    def _deliver(self, frame: Frame) -> None:
        opens = self._on_open is not None
        if frame.kind is Kind.OPEN and opens and frame.stream > self._last_number:
            self._accept(frame)
            return
        if frame.kind is Kind.OPEN or (frame.kind is Kind.CANCEL and not opens):
            raise FrameError("this end may not send that kind of frame")
        if frame.kind in (Kind.RESULT, Kind.ERROR) and opens:
            raise FrameError("this end may not close a stream")
        if frame.stream > self._last_number:
            raise FrameError("a frame is for a stream that was never opened")
        stream = self._streams.get(frame.stream)
        if stream is None:
            self._ignore(frame)
            return
        if frame.kind is Kind.CANCEL:
            self.forget(frame.stream)
            stream.close()
            if self._on_cancel is not None:
                self._on_cancel(stream)
            return
        stream.deliver(frame)
        if frame.kind in (Kind.RESULT, Kind.ERROR):
            del self._streams[frame.stream]

    def _ignore(self, frame: Frame) -> None:
        """Take no notice of what comes late for a closed stream, but not of more than can have been under way."""
        self._late_bytes -= max(1, len(frame.payload))
        if self._late_bytes < 0:
            raise FrameError("too much came for streams that are closed")

    def _accept(self, frame: Frame) -> None:
        assert self._on_open is not None
        self._last_number = frame.stream
        stream = Stream(self, frame.stream)
        self._streams[frame.stream] = stream
        self._on_open(stream, frame.payload)
