"""Reading HTTP/1.1 from a wire, alike for both sides: a strict head first, then a body in pieces."""

import asyncio

import h11

from subclaw.egress.head import END, unfinished_problem
from subclaw.egress.limits import Limits
from subclaw.egress.stream import Stream


class Malformed(Exception):
    """The other side does not speak HTTP/1.1 as it must. `status` suits a client; `reason` quotes nothing."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


async def read_head(wire: Stream, http: h11.Connection, limits: Limits, first_s: float) -> bytes | None:
    """Feed `http` until a whole head is in it, and return that head raw; None if the stream ended before one began.

    `first_s` is the longest wait for the first byte; the rest must come within `limits.head_s`.
    Errors: `Malformed`, `TimeoutError`, `ConnectionError`.
    """
    raw: bytes = http.trailing_data[0]
    if not raw:
        raw = await wire.read(first_s)
        http.receive_data(raw)
        if not raw:
            return None
    if END not in raw:
        async with asyncio.timeout(limits.head_s):
            raw = await _rest_of_head(wire, http, limits, raw)
    end = raw.index(END) + len(END)
    if end > limits.head_bytes:
        raise Malformed(431, "the head is too large")
    return raw[:end]


async def _rest_of_head(wire: Stream, http: h11.Connection, limits: Limits, raw: bytes) -> bytes:
    while END not in raw:
        if problem := unfinished_problem(raw):
            raise Malformed(400, problem)
        if len(raw) > limits.head_bytes:
            raise Malformed(431, "the head is too large")
        data = await wire.read(limits.head_s)
        if not data:
            raise Malformed(400, "the head breaks off")
        http.receive_data(data)
        raw += data
    return raw


async def read_piece(wire: Stream, http: h11.Connection, timeout_s: float) -> bytes:
    """Return the next piece of a body: what has come in, at least one byte, or nothing at the body's end.

    Trailers are dropped. Errors: `Malformed` (also for a body that breaks off), `TimeoutError`, `ConnectionError`.
    """
    pieces: list[bytes] = []
    while http.their_state is h11.SEND_BODY:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError:
            raise Malformed(400, "the body is malformed or breaks off") from None
        if isinstance(event, h11.Data):
            pieces.append(event.data)
        elif event is h11.NEED_DATA:
            if pieces:
                break
            http.receive_data(await wire.read(timeout_s))
    return b"".join(pieces)
