"""An exchange: one request carried to its upstream, and the answer carried back, both as streams."""

import asyncio
from dataclasses import dataclass

import h11

from subclaw.core.upstream import Allowed
from subclaw.egress.door import Door
from subclaw.egress.inject import Headers, outgoing, returned
from subclaw.egress.limits import Limits
from subclaw.egress.link import Link, Unanswered
from subclaw.egress.opened import Opened
from subclaw.egress.pool import Pool
from subclaw.egress.refusal import Refusal
from subclaw.egress.scrub import Scrubber

_REPLAYABLE = (b"GET", b"HEAD")


@dataclass(kw_only=True)
class Record:
    """What is logged of a request: nothing of its path, headers or body."""

    method: str = "-"
    upstream: str = "-"
    status: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A request as it goes to the upstream: `first` is the body's beginning, or all of it if it has `ended`."""

    method: bytes
    target: str
    headers: Headers
    first: bytes
    ended: bool
    secret: Opened | None


async def forward(
    door: Door,
    request: h11.Request,
    allowed: Allowed,
    secret: Opened | None,
    pool: Pool,
    limits: Limits,
    record: Record,
) -> bool:
    """Carry a request to its upstream and the answer back; return whether the client's connection can go on.

    A small body is read whole before the upstream is reached, so that a malformed one reaches nobody. A kept connection
    that turns out dead is replaced once, and only for GET and HEAD without a body: anything else may have been acted
    on, and the caller is told 502 and must judge.
    Errors: `Refusal`, `Corrupt` (the secret), `ConnectionError` and `TimeoutError` when the client is gone or stuck.
    """
    headers = outgoing(request.headers, allowed.upstream, secret)
    first, ended = await door.gather(limits.gathered_bytes)
    call = _Call(
        method=request.method,
        target=allowed.url_path,
        headers=headers + _framing(request),
        first=first,
        ended=ended,
        secret=secret,
    )
    link = pool.take()
    if link is not None:
        try:
            return await _converse(door, link, pool, call, record)
        except Unanswered:
            if request.method not in _REPLAYABLE or first or not ended:
                raise _unanswered() from None
    try:
        return await _converse(door, await pool.connect(), pool, call, record)
    except Unanswered:
        raise _unanswered() from None


async def _converse(door: Door, link: Link, pool: Pool, call: _Call, record: Record) -> bool:
    try:
        try:
            await link.send_head(call.method, call.target, call.headers, call.first, ended=call.ended)
        except ConnectionError:
            raise Unanswered from None
        if call.ended:
            return await _relay(door, link, call, record)
        return await _relay_while_uploading(door, link, call, record)
    finally:
        record.sent_bytes = door.body_bytes
        pool.keep(link)


async def _relay_while_uploading(door: Door, link: Link, call: _Call, record: Record) -> bool:
    try:
        async with asyncio.TaskGroup() as group:
            upload = group.create_task(_upload(door, link))
            goes_on = await _relay(door, link, call, record)
            upload.cancel()  # an answer that is complete before the request is: the rest has no reader
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return goes_on


async def _upload(door: Door, link: Link) -> None:
    try:
        while piece := await door.body():
            await link.send(piece)
        await link.end()
    except ConnectionError:
        return  # the upstream takes no more: its answer, which is being read, says why; or the client is gone


async def _relay(door: Door, link: Link, call: _Call, record: Record) -> bool:
    response = await link.response()
    record.status = response.status_code
    door.begin(response.status_code, returned(response.headers, call.secret))
    await door.flush()
    scrubber = Scrubber(call.secret.forms if call.secret else ())
    while piece := await link.body():
        record.received_bytes += len(piece)
        await door.send(scrubber.feed(piece))
    await door.send(scrubber.flush())
    return await door.finish()


def _framing(request: h11.Request) -> Headers:
    return [(name, value) for name, value in request.headers if name in (b"content-length", b"transfer-encoding")]


def _unanswered() -> Refusal:
    return Refusal(502, "the upstream ended the connection without an answer")
