"""WebSockets: frames are followed from their heads, so that no message waits for the next one to be searched."""

from collections import deque
from http import HTTPStatus

from subclaw.egress.http.door import Door
from subclaw.egress.http.exchange import Call, Record, relay
from subclaw.egress.http.headers import Headers, returned
from subclaw.egress.http.link import Unanswered
from subclaw.egress.http.pool import Pool
from subclaw.egress.http.stream import Stream
from subclaw.egress.http.tunnel import join
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.scrub import Scrubber

_HEAD_BYTES = 2
_LENGTHS = {126: 2, 127: 8}
_LAST, _CONTROL = 0x80, 0x08
_WAITING_LIMIT = 64
"""How many frames' heads may wait; no honest server cuts a message so small."""


class FrameScrubber:
    """Blots out forms of a secret in what a server sends, whose frames are not masked (RFC 6455, section 5.2).

    What could be the beginning of a form is held back, but not longer than to the end of its message. In a message of
    several frames the heads of the next ones wait with it; a control frame between them does not.
    """

    def __init__(self, forms: tuple[bytes, ...]) -> None:
        self._scrubber = Scrubber(forms)
        self._head = b""
        self._left_bytes = 0
        self._ends_message = False
        self._taken_bytes = self._passed_bytes = 0
        self._heads: deque[tuple[int, bytes]] = deque()
        """Heads that wait, each until so many bytes have been passed on."""

    def feed(self, data: bytes) -> bytes:
        """Return what may be passed on now. Errors: `Refusal` for frames that no server may send."""
        out: list[bytes] = []
        while data:
            if self._left_bytes:
                payload, data = data[: self._left_bytes], data[self._left_bytes :]
                self._left_bytes -= len(payload)
                self._taken_bytes += len(payload)
                self._pass(self._scrubber.feed(payload), out)
            else:
                data = self._take_head(data, out)
            if self._ends_message and not self._left_bytes:
                self._pass(self._scrubber.flush(), out)
        return b"".join(out)

    def _take_head(self, data: bytes, out: list[bytes]) -> bytes:
        """Take bytes of a frame's head, and the head out when it is whole; return what is left."""
        wanted = _HEAD_BYTES if len(self._head) < _HEAD_BYTES else _HEAD_BYTES + _LENGTHS.get(self._head[1], 0)
        taken = data[: wanted - len(self._head)]
        self._head += taken
        if len(self._head) >= _HEAD_BYTES:
            if self._head[0] & 0x70 or self._head[1] & 0x80:
                raise Refusal(502, "the upstream sent a frame that cannot be searched")
            size = self._head[1]
            extra = _LENGTHS.get(size, 0)
            if len(self._head) == _HEAD_BYTES + extra:
                self._left_bytes = int.from_bytes(self._head[_HEAD_BYTES:]) if extra else size
                self._begin_frame(out)
        return data[len(taken) :]

    def _begin_frame(self, out: list[bytes]) -> None:
        head, self._head = self._head, b""
        if head[0] & _CONTROL or len(self._heads) >= _WAITING_LIMIT:
            self._pass(self._scrubber.flush(), out)
        self._ends_message = bool(head[0] & _LAST)
        self._heads.append((self._taken_bytes, head))
        self._pass(b"", out)

    def _pass(self, payload: bytes, out: list[bytes]) -> None:
        """Pass payload on, and between it the heads whose turn it is."""
        while self._heads and self._heads[0][0] <= self._passed_bytes + len(payload):
            position, head = self._heads.popleft()
            before = position - self._passed_bytes
            out += payload[:before], head
            payload = payload[before:]
            self._passed_bytes = position
        out.append(payload)
        self._passed_bytes += len(payload)


async def bridge(door: Door, call: Call, pool: Pool, limits: Limits, record: Record) -> bool:
    """Carry a WebSocket's handshake to its upstream, and then what both say; the client's connection ends with it.

    If the upstream does not agree, its answer is carried back as any other. Errors: as `exchange.forward`.
    """
    link = await pool.connect()
    try:
        await link.send_head(call.method, call.target, _handshake(call), b"", ended=True)
        answer = await link.switched()
        if answer.status != HTTPStatus.SWITCHING_PROTOCOLS:
            return await relay(door, link, answer, call, record)
        record.status = answer.status
        headers = [*_AGREED, *returned(answer.headers, call.forms, authorised=call.authorised)]
        if len(answer.values(b"sec-websocket-accept")) != 1:
            raise Refusal(502, "the upstream's answer cannot be used: it agrees to something else")
        await door.switch(headers)
        door.wire.on_end = None  # what the client said last is to be passed on
        await _converse(door, link.wire, call, limits, record)
    except (Unanswered, ConnectionError):
        raise Refusal(502, "the upstream ended the connection without an answer") from None
    finally:
        link.wire.close()
    return False


_AGREED: Headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


def _handshake(call: Call) -> Headers:
    """Return the handshake's headers. Extensions would compress what is searched for secrets: none are offered then."""
    dropped = (b"sec-websocket-extensions", b"accept-encoding") if call.forms else ()
    return [*((name, value) for name, value in call.headers if name.lower() not in dropped), *_AGREED]


async def _converse(door: Door, upstream: Stream, call: Call, limits: Limits, record: Record) -> None:
    scrubber = FrameScrubber(call.forms)

    def outward(data: bytes) -> bytes:
        call.count(len(data), 0)
        record.sent_bytes += len(data)
        return call.said(data)

    def inward(data: bytes) -> bytes:
        call.count(0, len(data))
        record.received_bytes += len(data)
        return scrubber.feed(data) if call.forms else data

    await join(door.wire, upstream, limits, outward=outward, inward=inward)
