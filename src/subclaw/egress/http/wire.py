"""A wire: one byte stream with bounded reads and back-pressure on writes. It starts no tasks."""

import asyncio
import threading
from collections.abc import Callable
from typing import cast

READ_LIMIT_BYTES = 65_536
"""Received and not yet read; above it the other side is made to wait. One receive may exceed it once."""

_NEVER_S = float("inf")


class Wire(asyncio.BaseProtocol):
    """One connection. `on_end` is called once the other side has ended it, even if received bytes are still unread."""

    def __init__(self, on_made: "Callable[[Wire], None] | None" = None) -> None:
        self.on_end: Callable[[], object] | None = None
        self.bytes_read = 0
        self._on_made = on_made
        self._transport: asyncio.Transport | None = None
        self._received: list[bytes] = []
        self._received_bytes = 0
        self._reading_paused = False
        self._writing_paused = False
        self._ended = False
        self._lost = False
        self._error: Exception | None = None
        self._readable = _Wait()
        self._writable = _Wait()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = _NEVER_S
        self._loop = asyncio.get_running_loop()

    async def read(self, timeout_s: float) -> bytes:
        """Return what has been received, at least one byte, or nothing at the end of the stream.

        Errors: `TimeoutError`; `ConnectionError` if the stream broke off instead of ending.
        """
        if not (self._received or self._ended):
            await self._waited(self._readable, timeout_s)
        if not self._received and self._error is not None:
            raise ConnectionResetError("the connection broke off")
        return self.take()

    def take(self) -> bytes:
        """Return what has been received and not read, which may be nothing."""
        if not self._received:
            return b""
        data = self._received[0] if len(self._received) == 1 else b"".join(self._received)
        self._received, self._received_bytes = [], 0
        self.bytes_read += len(data)
        if self._reading_paused and self._transport is not None and not self._lost:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    def unread(self, data: bytes) -> None:
        """Put back what was read, to be read again."""
        if data:
            self._received.insert(0, data)
            self._received_bytes += len(data)
            self.bytes_read -= len(data)

    async def write(self, data: bytes, timeout_s: float) -> None:
        """Send bytes, waiting while the other side is slow to take them. Errors: `TimeoutError`, `ConnectionError`."""
        if not self.write_now(data):
            raise ConnectionResetError("the connection is closed")
        if self._writing_paused:
            await self.drain(timeout_s)

    def write_now(self, data: bytes) -> bool:
        """Send a few bytes, waiting for nothing; return False if the connection is closed."""
        if self._lost or self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return True

    @property
    def is_full(self) -> bool:
        """Whether the other side is slow to take what was written, so that a writer must wait."""
        return self._writing_paused

    async def drain(self, timeout_s: float) -> None:
        """Wait until more may be written. Errors: `TimeoutError`, `ConnectionError`."""
        await self._waited(self._writable, timeout_s)
        if self._lost:
            raise ConnectionResetError("the connection is closed")

    @property
    def descriptor(self) -> int:
        """The number of the connection's socket. Errors: `ConnectionError` if it is closed."""
        number = -1 if self._transport is None else self._transport.get_extra_info("socket").fileno()
        if number < 0:
            raise ConnectionResetError("the connection is closed")
        return int(number)

    @property
    def ended(self) -> bool:
        """Whether the other side has ended the connection."""
        return self._ended

    @property
    def quiet(self) -> bool:
        """Whether the connection stands and nothing unread has come in."""
        return not (self._ended or self._lost or self._received)

    def end_writing(self) -> None:
        """Tell the other side that nothing more comes, and go on reading."""
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """End the connection after what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio calls this)."""
        self._transport = cast(asyncio.Transport, transport)
        if self._on_made is not None:
            self._on_made(self)

    def data_received(self, data: bytes) -> None:
        """Keep what came in, and pause the other side when it is too much."""
        self._received.append(data)
        self._received_bytes += len(data)
        if self._received_bytes > READ_LIMIT_BYTES and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._readable.end()

    def eof_received(self) -> bool:
        """Note the end of the stream; the transport then closes (the result says: no half-open connections)."""
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more can be read or written."""
        self._lost = True
        self._error = exc
        if self._timer is not None:
            self._timer.cancel()
        self._writable.end()
        self._end()

    def pause_writing(self) -> None:
        """Hold back writers."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._writing_paused = False
        self._writable.end()

    def _waited(self, wait: "_Wait", timeout_s: float) -> asyncio.Future[None]:
        """Return what is done when that is ended, or raises `TimeoutError`.

        One timer does for all waits of a connection: it is seldom that one takes until its deadline.
        """
        wait.deadline_s = self._loop.time() + timeout_s
        wait.future = future = self._loop.create_future()
        if self._timer_s > wait.deadline_s:
            self._look_again_at(wait.deadline_s)
        return future

    def _look_again_at(self, time_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(time_s, self._give_up_what_is_late)
        self._timer_s = time_s

    def _give_up_what_is_late(self) -> None:
        self._timer, self._timer_s = None, _NEVER_S
        now_s = self._loop.time()
        deadlines_s = [each.deadline_s for each in (self._readable, self._writable) if not each.give_up(now_s)]
        if deadlines_s and not self._lost:
            self._look_again_at(min(deadlines_s))

    def _end(self) -> None:
        first, self._ended = not self._ended, True
        self._readable.end()
        if first and self.on_end is not None:
            self.on_end()


class BufferedWire(Wire, asyncio.BufferedProtocol):
    """A wire under which the event loop speaks TLS: uvloop takes 256 kB from the kernel for each read of other ones."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where to put what comes in."""
        return _buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what came in."""
        self.data_received(bytes(_buffer.view[:nbytes]))


class _Buffer(threading.local):
    """One of each thread does for all of its connections: nothing else runs between the two calls above."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_LIMIT_BYTES))


_buffer = _Buffer()


class _Wait:
    """What somebody waits for, if anybody does, and until when."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] | None = None
        self.deadline_s = 0.0

    def end(self) -> None:
        """Let whoever waits go on."""
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def give_up(self, now_s: float) -> bool:
        """End the wait if it is late; return whether nobody waits any more."""
        if self.future is None or self.future.done():
            return True
        if self.deadline_s > now_s:
            return False
        self.future.set_exception(TimeoutError())
        return True
