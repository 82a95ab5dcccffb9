"""Reading HTTP/1.1 from a stream, alike for both sides: a whole head first, then a body in pieces."""

import asyncio

from subclaw.egress.http.framing import BadBody, IncomingBody
from subclaw.egress.http.head import END, unfinished_problem
from subclaw.egress.http.stream import Stream
from subclaw.egress.limits import Limits


class Malformed(Exception):
    """The other side does not speak HTTP/1.1 as it must. `status` suits a client; `reason` quotes nothing."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Unfinished(TimeoutError):
    """A head began, and did not end in time."""


async def read_head(stream: Stream, limits: Limits, first_s: float) -> bytes | None:
    """Return a whole head, not yet checked; None if the stream ended before one began.

    `first_s` is the longest wait for the first byte; the rest must come within `limits.head_s`. What follows the head
    stays unread. Errors: `Malformed`, `TimeoutError` (`Unfinished`), `ConnectionError`.
    """
    raw = await stream.read(first_s)
    if not raw:
        return None
    if END not in raw:
        raw = await _with_the_rest(stream, limits, raw)
    end = raw.index(END) + len(END)
    if end > limits.head_bytes:
        raise Malformed(431, "the head is too large")
    if end < len(raw):
        stream.unread(raw[end:])
    return raw[:end]


async def _with_the_rest(stream: Stream, limits: Limits, raw: bytes) -> bytes:
    try:
        async with asyncio.timeout(limits.head_s):
            while END not in raw:
                if problem := unfinished_problem(raw):
                    raise Malformed(400, problem)
                if len(raw) > limits.head_bytes:
                    raise Malformed(431, "the head is too large")
                data = await stream.read(limits.head_s)
                if not data:
                    raise Malformed(400, "the head breaks off")
                raw += data
    except TimeoutError:
        raise Unfinished from None
    return raw


async def read_piece(stream: Stream, body: IncomingBody, timeout_s: float) -> bytes:
    """Return the next piece of a body: what has come in, at least one byte, or nothing at the body's end.

    What follows the body stays unread. Errors: `Malformed` (also for a body that breaks off), `TimeoutError`,
    `ConnectionError`.
    """
    while not body.ended:
        data = await stream.read(timeout_s)
        if not data:
            try:
                body.end()
            except BadBody:
                raise _bad_body() from None
        if content := _content(stream, body, data):
            return content
    return b""


def take_piece(stream: Stream, body: IncomingBody) -> bytes:
    """Return what of a body has come in and was not read, which may be nothing. Errors: `Malformed`."""
    return b"" if body.ended else _content(stream, body, stream.take())


def _content(stream: Stream, body: IncomingBody, data: bytes) -> bytes:
    """Return what of some bytes is a body's content. What follows the body goes back."""
    if not data:
        return b""
    try:
        content, rest = body.take(data)
    except BadBody:
        raise _bad_body() from None
    if rest:
        stream.unread(rest)
    return content


def _bad_body() -> Malformed:
    return Malformed(400, "the body is malformed or breaks off")
