"""The door: the client's side of a connection. Strict requests in, bounded bodies, answers out."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from http import HTTPStatus

import h11

from subclaw.egress.head import request_problem
from subclaw.egress.limits import Limits
from subclaw.egress.reading import Malformed, read_head, read_piece
from subclaw.egress.refusal import Refusal
from subclaw.egress.request import Request
from subclaw.egress.stream import Stream


class Door:
    """One client's connection: `request`, then `body` or `gather`, then `begin`, `send`, `finish`, and again.

    All reads raise `Refusal` for what the client does wrong, and `ConnectionError` when it is gone.
    """

    def __init__(self, wire: Stream, limits: Limits, *, websockets: bool = False) -> None:
        """With `websockets`, a request may ask to go on as one."""
        self.wire = wire
        self._websockets = websockets
        self.begun = False
        """Whether an answer has begun, so that an error can no longer be told."""
        self.body_bytes = 0
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._out: list[bytes] = []

    async def request(self) -> Request | None:
        """Return the next request; None if the client ends the connection or leaves it idle."""
        try:
            head = await read_head(self.wire, self._http, self._limits, self._limits.client_idle_s)
            problem = head and request_problem(head, self._limits.headers, websockets=self._websockets)
            if problem:
                raise Refusal(*problem)
            event = self._http.next_event()
        except TimeoutError:
            if self._http.trailing_data[0]:
                raise Refusal(408, "the request took too long to arrive") from None
            return None
        except ConnectionError:
            return None
        except (Malformed, h11.RemoteProtocolError) as error:
            raise _refused(error) from None
        if not isinstance(event, h11.Request):
            return None
        self.body_bytes = 0
        self._check_length(event)
        return Request(method=event.method, target=event.target, headers=event.headers.raw_items())

    async def body(self) -> bytes:
        """Return the next piece of the request's body, at least one byte, or nothing at its end."""
        if self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))
            await self.flush()
        try:
            piece = await read_piece(self.wire, self._http, self._limits.idle_s)
        except Malformed as error:
            raise _refused(error) from None
        except TimeoutError:
            raise Refusal(408, "the request took too long to arrive") from None
        self.body_bytes += len(piece)
        if self.body_bytes > self._limits.body_bytes:
            raise self._too_large()
        return piece

    async def gather(self, limit_bytes: int) -> tuple[bytes, bool]:
        """Read the body until its end or until `limit_bytes` are exceeded; return it, and whether it has ended."""
        pieces: list[bytes] = []
        size_bytes = 0
        while size_bytes <= limit_bytes:
            piece = await self.body()
            if not piece:
                return b"".join(pieces), True
            pieces.append(piece)
            size_bytes += len(piece)
        return b"".join(pieces), False

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin the answer. Without a Content-Length among the headers it is sent in chunks."""
        self.begun = True
        reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        self._write(h11.Response(status_code=status, headers=list(headers), reason=reason))

    async def switch(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Agree to what the request asked for, to go on by another protocol; what comes next is read of the wire."""
        self.begun = True
        self._write(h11.InformationalResponse(status_code=101, headers=list(headers), reason="Switching Protocols"))
        await self.flush()
        self.wire.unread(self._http.trailing_data[0])

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer's body, waiting while the client is slow."""
        if data:
            self._write(h11.Data(data=data))
        await self.flush()

    async def finish(self) -> bool:
        """End the answer; return whether the connection can carry another request."""
        self._write(h11.EndOfMessage())
        await self.flush()
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self.begun = False
        return True

    async def answer(self, status: int, document: object) -> bool:
        """Answer with a small JSON document; return whether the connection can carry another request."""
        body = json.dumps(document).encode()
        length = str(len(body)).encode()
        self.begin(status, [(b"content-type", b"application/json"), (b"content-length", length)])
        self._write(h11.Data(data=body))
        return await self.finish()

    async def refuse(self, refusal: Refusal) -> None:
        """Tell the client why there is no answer; the connection must be closed after it.

        Written without h11, whose state may be in error by what the client sent.
        """
        body = json.dumps({"error": {"message": refusal.public}}).encode()
        head = (
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        await self.wire.write(head.encode() + body, self._limits.head_s)

    async def linger(self) -> None:
        """End the connection such that a client which is still sending can read its answer (RFC 9112, section 9.6)."""
        if self.wire.ended:
            return
        self.wire.end_writing()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(self._limits.linger_s):
                while await self.wire.read(self._limits.linger_s):
                    pass

    async def flush(self) -> None:
        """Send what was written, waiting while the client is slow."""
        data, self._out = b"".join(self._out), []
        if data:
            await self.wire.write(data, self._limits.idle_s)

    def _write(self, event: h11.Event) -> None:
        self._out.append(self._http.send(event) or b"")

    def _check_length(self, request: h11.Request) -> None:
        for name, value in request.headers:
            if name == b"content-length" and int(value) > self._limits.body_bytes:
                raise self._too_large()

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the request is larger than {self._limits.body_bytes:,} bytes")


def _refused(error: Malformed | h11.RemoteProtocolError) -> Refusal:
    if isinstance(error, Malformed):
        return Refusal(error.status, error.reason)
    return Refusal(400, "the request is malformed")
