"""A link: the upstream's side of a call, over a connection that may have carried calls before."""

from collections.abc import Sequence
from http import HTTPStatus

import h11

from subclaw.egress.head import response_problem
from subclaw.egress.limits import Limits
from subclaw.egress.reading import Malformed, read_head, read_piece
from subclaw.egress.refusal import Refusal
from subclaw.egress.stream import Stream


class Unanswered(Exception):
    """The connection ended before a byte of the answer came. Whether the upstream acted on the request is unknown."""


class Link:
    """One connection to an upstream: `send_head`, `send`, `end`; `response`, `body`; and again if `recycle` says so.

    Reads raise `Refusal` with 502 or 504 for what the upstream does wrong; writes raise `ConnectionError`.
    """

    def __init__(self, wire: Stream, limits: Limits) -> None:
        self.wire = wire
        self.keep_s = limits.pooled_s
        """How long this connection may wait for its next call."""
        self._limits = limits
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.head_bytes)
        self._read_before = 0

    async def send_head(
        self, method: bytes, target: str, headers: Sequence[tuple[bytes, bytes]], first: bytes, *, ended: bool
    ) -> None:
        """Send the head, and with it the first piece of the body, or all of it if it has `ended`."""
        self._read_before = self.wire.bytes_read
        out = [self._http.send(h11.Request(method=method, target=target, headers=list(headers)))]
        if first:
            out.append(self._http.send(h11.Data(data=first)))
        if ended:
            out.append(self._http.send(h11.EndOfMessage()))
        await self._write(b"".join(out))

    async def send(self, piece: bytes) -> None:
        """Send a piece of the body, waiting while the upstream is slow."""
        await self._write(self._http.send(h11.Data(data=piece)))

    async def end(self) -> None:
        """End the body."""
        await self._write(self._http.send(h11.EndOfMessage()))

    async def response(self) -> h11.Response:
        """Return the head of the answer, passing over interim ones. Errors: `Unanswered`, `Refusal`."""
        for _ in range(self._limits.informational + 1):
            event = await self._head_event()
            if isinstance(event, h11.Response):
                self.keep_s = min(self._limits.pooled_s, _keep_alive_s(event))
                return event
        raise _bad("it sent too many interim answers")

    async def switched(self) -> h11.Response | h11.InformationalResponse:
        """Return the answer to a wish to change the protocol: a refusal, or 101, and then the rest is read of the wire.

        Errors: `Unanswered`, `Refusal`.
        """
        for _ in range(self._limits.informational + 1):
            event = await self._head_event(upgrade=True)
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse) and event.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                self.wire.unread(self._http.trailing_data[0])
                return event
        raise _bad("it sent too many interim answers")

    async def body(self) -> bytes:
        """Return the next piece of the answer's body, at least one byte, or nothing at its end."""
        try:
            return await read_piece(self.wire, self._http, self._limits.idle_s)
        except (Malformed, ConnectionError):
            raise _bad("it broke off") from None
        except TimeoutError:
            raise _slow() from None

    def recycle(self) -> bool:
        """Make ready for another call; return False if the connection cannot carry one."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE or not self.wire.quiet:
            return False
        if self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        return self.keep_s > 0

    async def _head_event(self, *, upgrade: bool = False) -> object:
        try:
            head = await read_head(self.wire, self._http, self._limits, self._limits.idle_s)
        except TimeoutError:
            raise _slow() from None
        except ConnectionError:
            head = None
        except Malformed as error:
            raise _bad(error.reason) from None
        if head is None:
            if self.wire.bytes_read == self._read_before:
                raise Unanswered
            raise _bad("it broke off")
        if problem := response_problem(head, self._limits.headers, upgrade=upgrade):
            raise _bad(problem)
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError:
            raise _bad("its head is malformed") from None

    async def _write(self, data: bytes) -> None:
        try:
            await self.wire.write(data, self._limits.idle_s)
        except TimeoutError:
            raise _slow() from None


def _keep_alive_s(response: h11.Response) -> float:
    """Return how long the server says it keeps the connection, less a second for the way there."""
    for name, value in response.headers:
        if name == b"keep-alive":
            for part in value.lower().split(b","):
                key, _, number = part.strip().partition(b"=")
                if key == b"timeout" and number.isdigit() and len(number) < 6:
                    return float(number) - 1
    return float("inf")


def _bad(reason: str) -> Refusal:
    return Refusal(502, f"the upstream's answer cannot be used: {reason}")


def _slow() -> Refusal:
    return Refusal(504, "the upstream took too long")
