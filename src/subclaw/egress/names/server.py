"""DNS over UDP for one machine: the questions it sends are answered, up to a rate. Nothing of them is logged."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from subclaw.egress.names.dns import answer

RATE_PER_S = 200
"""Questions that one machine may ask, on average; what is more is dropped, and the machine's resolver asks again."""
BURST = 200


class Rate:
    """A token bucket: `per_s` on average, and `burst` at once."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._at_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Take one, if there is one. `now_s` is the time of a clock that does not go back."""
        elapsed_s = 0.0 if self._at_s is None else now_s - self._at_s
        self._left = min(self._burst, self._left + elapsed_s * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class DnsServer(asyncio.DatagramProtocol):
    """Answers one machine's questions, each to who sent it."""

    def __init__(self, key: bytes, rate: Rate, clock: Callable[[], float]) -> None:
        """`key` decides which address a name has (see `answer`); `clock` gives seconds for `rate`."""
        self._key = key
        self._rate = rate
        self._clock = clock
        self._transport: asyncio.DatagramTransport | None = None
        self._writing_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio calls this)."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        """Answer one message, unless there are too many (asyncio calls this)."""
        if self._transport is None or self._writing_paused or not self._rate.take(self._clock()):
            return
        reply = answer(data, self._key)
        if reply is not None:
            self._transport.sendto(reply, addr)

    def error_received(self, exc: Exception) -> None:
        """Let it be when somebody does not take an answer (asyncio calls this)."""

    def pause_writing(self) -> None:
        """Drop questions while the kernel does not take answers."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Answer again."""
        self._writing_paused = False


def name_rate() -> Rate:
    """Return a fresh bound on how many names one machine may ask for."""
    return Rate(RATE_PER_S, BURST)


async def serve_dns(listener: socket.socket, key: bytes, rate: Rate) -> asyncio.DatagramTransport:
    """Answer what comes in on a bound, non-blocking UDP socket, which one machine alone can reach.

    Closing the transport ends it and closes the socket.
    """
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: DnsServer(key, rate, loop.time), sock=listener)
    return transport
