"""The door: the client's side of a connection. Strict requests in, bounded bodies, answers out."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from subclaw.egress.http.framing import CHUNKED, EMPTY, IncomingBody, OutgoingBody, framing_of
from subclaw.egress.http.head import Likeness, likeness_of, read_headers, request_problem
from subclaw.egress.http.message import write_head
from subclaw.egress.http.reading import Malformed, Unfinished, read_head, read_piece
from subclaw.egress.http.request import Request
from subclaw.egress.http.stream import Stream
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import UNSENT_HEADER, Refusal

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}
SEEN_LIMIT = 4
"""Heads of one connection that are remembered."""
_SEEN_BYTES = 4_096
"""Those that are larger are not."""
_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A request, and what is to be done about it and all that are like it."""

    request: Request
    awaits_word: bool
    says_close: bool


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
        self._request: Request | None = None
        self._body = IncomingBody(EMPTY)
        self._answer = OutgoingBody(EMPTY)
        self._awaits_word = False
        self._closes = False
        self._out: list[bytes] = []
        self._seen: dict[Likeness, _Seen] = {}
        """The last requests of this connection, which are mostly alike."""

    async def request(self) -> Request | None:
        """Return the next request; None if the client ends the connection or leaves it idle."""
        try:
            head = await read_head(self.wire, self._limits, self._limits.client_idle_s)
        except Unfinished:
            raise Refusal(408, "the request took too long to arrive") from None
        except (TimeoutError, ConnectionError):
            return None
        except Malformed as error:
            raise Refusal(error.status, error.reason) from None
        if head is None:
            return None
        return self._read(head)

    async def body(self) -> bytes:
        """Return the next piece of the request's body, at least one byte, or nothing at its end."""
        if self._awaits_word and not self._body.ended:
            self._out.append(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self.flush()
        self._awaits_word = False
        try:
            piece = await read_piece(self.wire, self._body, self._limits.idle_s)
        except Malformed as error:
            raise Refusal(error.status, error.reason) from None
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
        while not self._body.ended and size_bytes <= limit_bytes:
            pieces.append(await self.body())
            size_bytes += len(pieces[-1])
        return b"".join(pieces), self._body.ended and size_bytes <= limit_bytes

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin the answer. Without a Content-Length among the headers it is sent in chunks."""
        self.begun = True
        framing, more = framing_of(headers, CHUNKED), []
        if status in _WITHOUT_BODY or (self._request is not None and self._request.method == b"HEAD"):
            framing = EMPTY
        elif framing.chunked:
            more.append((b"transfer-encoding", b"chunked"))
        if self._closes:
            more.append((b"connection", b"close"))
        self._answer = OutgoingBody(framing)
        self._out.append(write_head(_LINES.get(status) or b"HTTP/1.1 %d " % status, [*headers, *more]))

    async def switch(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Agree to what the request asked for, to go on by another protocol; what comes next is read of the wire."""
        self.begun = True
        self._out.append(write_head(_LINES[HTTPStatus.SWITCHING_PROTOCOLS], list(headers)))
        await self.flush()

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer's body, waiting while the client is slow."""
        self._out.append(self._answer.piece(data))
        await self.flush()

    async def finish(self, last: bytes = b"") -> bool:
        """End the answer with a last piece; return whether the connection can carry another request."""
        self._out += self._answer.piece(last), self._answer.end()
        await self.flush()
        if self._closes or not self._body.ended:
            return False
        self.begun = False
        return True

    async def answer(self, status: int, document: object) -> bool:
        """Answer with a small JSON document; return whether the connection can carry another request."""
        body = json.dumps(document).encode()
        length = str(len(body)).encode()
        self.begin(status, [(b"content-type", b"application/json"), (b"content-length", length)])
        return await self.finish(body)

    async def refuse(self, refusal: Refusal) -> None:
        """Tell the client why there is no answer; the connection must be closed after it."""
        body = json.dumps({"error": {"message": refusal.public}}).encode()
        unsent = f"{UNSENT_HEADER}: 1\r\n" if refusal.unsent else ""
        head = (
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{unsent}\r\n"
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

    def _read(self, head: bytes) -> Request:
        """Read a head; one like which there was before is sound as that was. Errors: `Refusal`."""
        likeness, length = likeness_of(head)
        seen = self._seen.get(likeness)
        if seen is not None:
            return self._begin(seen, seen.request.of_length(length))
        headers = read_headers(head)
        if problem := request_problem(head, self._limits.headers, websockets=self._websockets, headers=headers):
            raise Refusal(*problem)
        method, target, _ = head.split(b" ", 2)
        request = Request(method=method, target=target, headers=headers, likeness=likeness, length=length)
        seen = _Seen(request=request, awaits_word=request.awaits_word, says_close=request.says_close)
        if len(head) <= _SEEN_BYTES:
            if len(self._seen) >= SEEN_LIMIT:
                self._seen.clear()
            self._seen[likeness] = seen
        return self._begin(seen, request)

    def _begin(self, seen: "_Seen", request: Request) -> Request:
        """Make ready for a request's body and its answer. Errors: `Refusal` for a body that is too large."""
        framing = request.framing
        if framing.length_bytes is not None and framing.length_bytes > self._limits.body_bytes:
            raise self._too_large()
        self.body_bytes = 0
        self._request = request
        self._body = IncomingBody(framing)
        self._awaits_word = seen.awaits_word
        self._closes = seen.says_close
        return request

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the request is larger than {self._limits.body_bytes:,} bytes")
