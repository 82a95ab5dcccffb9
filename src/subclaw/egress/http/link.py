"""A link: the upstream's side of a call, over a connection that may have carried calls before."""

import time
from http import HTTPStatus

from subclaw.egress.http.framing import EMPTY, UNTIL_END, IncomingBody, OutgoingBody, framing_of
from subclaw.egress.http.head import read_lowered, response_problem
from subclaw.egress.http.headers import Headers
from subclaw.egress.http.message import RequestHead, Response, read_response, write_request
from subclaw.egress.http.reading import Malformed, Unfinished, read_head, read_piece, take_piece
from subclaw.egress.http.stream import Stream
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal

_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


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
        self.kept_until_s = 0.0
        """Until when it does, by `time.monotonic`."""
        self._limits = limits
        self._method = b""
        self._request = OutgoingBody(EMPTY)
        self._body = IncomingBody(EMPTY)
        self._closes = False
        self._read_before = 0
        self._sent_at_s = 0.0

    async def send_head(self, method: bytes, target: str, headers: Headers, first: bytes, *, ended: bool) -> None:
        """Send the head, and with it the first piece of the body, or all of it if it has `ended`.

        Errors: `ValueError` for what is no sound head.
        """
        await self.send_written(write_request(method, target, headers), first, ended=ended)

    async def send_written(self, head: RequestHead, first: bytes, *, ended: bool) -> None:
        """Send a head that is written already. See `send_head`."""
        self._read_before = self.wire.bytes_read
        self._method, self._request = head.method, OutgoingBody(head.framing)
        self._body = IncomingBody(UNTIL_END)  # until the answer says
        await self._write(head.data + self._request.piece(first) + (self._request.end() if ended else b""))

    async def send(self, piece: bytes) -> None:
        """Send a piece of the body, waiting while the upstream is slow."""
        await self._write(self._request.piece(piece))

    async def end(self) -> None:
        """End the body."""
        await self._write(self._request.end())

    async def response(self) -> Response:
        """Return the head of the answer, passing over interim ones. Errors: `Unanswered`, `Refusal`."""
        for _ in range(self._limits.informational + 1):
            response = await self._head()
            if response.status >= HTTPStatus.OK:
                return self._begin(response)
        raise _bad("it sent too many interim answers")

    async def switched(self) -> Response:
        """Return the answer to a wish to change the protocol: a refusal, or 101, and then the rest is read of the wire.

        Errors: `Unanswered`, `Refusal`.
        """
        for _ in range(self._limits.informational + 1):
            response = await self._head(upgrade=True)
            if response.status >= HTTPStatus.OK:
                return self._begin(response)
            if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                return response
        raise _bad("it sent too many interim answers")

    @property
    def ended(self) -> bool:
        """Whether the answer's body is whole."""
        return self._body.ended

    def take_body(self) -> bytes:
        """Return what of the answer's body has come in already, which may be nothing. Errors: `Refusal`."""
        try:
            return take_piece(self.wire, self._body)
        except Malformed:
            raise _bad("it broke off") from None

    async def body(self) -> bytes:
        """Return the next piece of the answer's body, at least one byte, or nothing at its end."""
        try:
            return await read_piece(self.wire, self._body, self._limits.idle_s)
        except (Malformed, ConnectionError):
            raise _bad("it broke off") from None
        except TimeoutError:
            raise _slow() from None

    def recycle(self) -> bool:
        """Make ready for another call; return False if the connection cannot carry one."""
        whole = self._request.ended and self._body.ended and not self._body.until_end
        return whole and not self._closes and self.wire.quiet and self.keep_s > 0

    async def _head(self, *, upgrade: bool = False) -> Response:
        """Read a head. An upstream may say nothing for as long as the request's body still goes out."""
        head = None
        while head is None:
            try:
                head = await read_head(self.wire, self._limits, self._limits.idle_s) or b""
            except TimeoutError as error:
                silent_s = time.monotonic() - self._sent_at_s
                if isinstance(error, Unfinished) or silent_s >= self._limits.idle_s:
                    raise _slow() from None
            except ConnectionError:
                head = b""
            except Malformed as error:
                raise _bad(error.reason) from None
        if not head:
            if self.wire.bytes_read == self._read_before:
                raise Unanswered
            raise _bad("it broke off")
        headers = read_lowered(head)
        if problem := response_problem(head, self._limits.headers, upgrade=upgrade, headers=headers):
            raise _bad(problem)
        return read_response(head, headers)

    def _begin(self, response: Response) -> Response:
        """Make ready for the body of an answer."""
        without_body = self._method == b"HEAD" or response.status in _WITHOUT_BODY
        self._body = IncomingBody(EMPTY if without_body else framing_of(response.headers, UNTIL_END))
        self._closes = response.closes
        self.keep_s = min(self._limits.pooled_s, _keep_alive_s(response))
        return response

    async def _write(self, data: bytes) -> None:
        try:
            await self.wire.write(data, self._limits.idle_s)
            self._sent_at_s = time.monotonic()
        except TimeoutError:
            raise _slow() from None


def _keep_alive_s(response: Response) -> float:
    """Return how long the server says it keeps the connection, less a second for the way there."""
    for value in response.values(b"keep-alive"):
        for part in value.lower().split(b","):
            key, _, number = part.strip().partition(b"=")
            if key == b"timeout" and number.isdigit() and len(number) < 6:
                return float(number) - 1
    return float("inf")


def _bad(reason: str) -> Refusal:
    return Refusal(502, f"the upstream's answer cannot be used: {reason}")


def _slow() -> Refusal:
    return Refusal(504, "the upstream took too long")
