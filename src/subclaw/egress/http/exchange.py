"""An exchange: one request carried to its upstream, and the answer carried back, both as streams."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import NamedTuple, Protocol

from subclaw.egress.http.headers import Headers, returned
from subclaw.egress.http.link import Link, Unanswered
from subclaw.egress.http.message import RequestHead, Response, write_request
from subclaw.egress.http.pool import Pool
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.scrub import Scrubber, blot
from subclaw.egress.secrets.sifting import Keep, sift

_REPLAYABLE = (b"GET", b"HEAD")


class Client(Protocol):
    """Whoever asks, and gets the answer. All reads raise `Refusal`, all writes `ConnectionError` and `TimeoutError`."""

    body_bytes: int

    async def body(self) -> bytes:
        """Return the next piece of the request's body, at least one byte, or nothing at its end."""
        ...

    async def gather(self, limit_bytes: int) -> tuple[bytes, bool]:
        """Read the body until its end or until `limit_bytes` are exceeded; return it, and whether it has ended."""
        ...

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin the answer."""
        ...

    async def flush(self) -> None:
        """Send what was written."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer's body."""
        ...

    async def finish(self, last: bytes = b"") -> bool:
        """End the answer with a last piece of its body; return whether the client's connection can go on."""
        ...


@dataclass(slots=True, kw_only=True)
class Record:
    """What is known of a request once it is over: nothing of its query, headers or body.

    `host` is the name of the upstream for a call of the control plane's. `allowed` says that it was by the rules.
    """

    method: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    mode: str = ""
    allowed: bool = False
    status: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request as it goes out, with its framing among the headers.

    `forms` are what a secret may look like in the answer, where it is blotted out. `authorised` says that the request
    has one; with `keep_minted`, keys in the answer stay here. `renewed` gives the request with another secret, if the
    upstream rejects this one (401) and there is another. `count` is told how many bytes of content go out and come in,
    and may raise `Refusal`. What a WebSocket's client sends goes out as `said` returns it, which may raise that too.
    """

    method: bytes
    target: str
    headers: Headers
    forms: tuple[bytes, ...] = ()
    authorised: bool = False
    keep_minted: Keep | None = None
    renewed: "Callable[[], Awaitable[Call | None]] | None" = None
    count: Callable[[int, int], None] = lambda sent_bytes, received_bytes: None
    said: Callable[[bytes], bytes] = lambda data: data


class _Begun(NamedTuple):
    """The head of a call with the beginning of its body, or all of it if it has `ended`."""

    head: RequestHead
    first: bytes
    ended: bool


class _Rejected(Exception):
    """The upstream rejected a secret; `call` has another one. It can be sent, as all of the body is here."""

    def __init__(self, call: Call) -> None:
        self.call = call


async def forward(
    client: Client, call: Call, pool: Pool, limits: Limits, record: Record, head: RequestHead | None = None
) -> bool:
    """Carry a request to its upstream and the answer back; return whether the client's connection can go on.

    `head` goes out for the call's own, if one is written already: the call may have been made for another length.

    A small body is read whole before the upstream is reached, so that a malformed one reaches nobody. A kept connection
    that turns out dead is replaced once, and only for GET and HEAD without a body: anything else may have been acted
    on, and the caller is told 502 and must judge.
    Errors: `Refusal`, `ConnectionError` and `TimeoutError` when the client is gone or stuck.
    """
    first, ended = await client.gather(limits.gathered_bytes)
    call.count(len(first), 0)
    begun = _Begun(head=head or written(call), first=first, ended=ended)
    try:
        return await _attempt(client, pool, call, begun, record)
    except _Rejected as rejected:
        fresh = replace(rejected.call, renewed=None)
        return await _attempt(client, pool, fresh, begun._replace(head=written(fresh)), record)


def written(call: Call) -> RequestHead:
    """Return the head of a call as it goes out. Errors: `ValueError`."""
    return write_request(call.method, call.target, call.headers)


async def _attempt(client: Client, pool: Pool, call: Call, begun: _Begun, record: Record) -> bool:
    link = pool.take()
    if link is not None:
        try:
            return await _converse(client, link, pool, call, begun, record)
        except Unanswered:
            if call.method not in _REPLAYABLE or begun.first or not begun.ended:
                raise _unanswered() from None
    try:
        return await _converse(client, await pool.connect(), pool, call, begun, record)
    except Unanswered:
        raise _unanswered() from None


async def _converse(client: Client, link: Link, pool: Pool, call: Call, begun: _Begun, record: Record) -> bool:
    try:
        try:
            await link.send_written(begun.head, begun.first, ended=begun.ended)
        except ConnectionError:
            raise Unanswered from None
        if begun.ended:
            response = await link.response()
            if response.status == HTTPStatus.UNAUTHORIZED and call.renewed and (fresh := await call.renewed()):
                raise _Rejected(fresh)
            return await relay(client, link, response, call, record)
        return await _relay_while_uploading(client, link, call, record)
    finally:
        record.sent_bytes = client.body_bytes
        pool.keep(link)


async def _relay_while_uploading(client: Client, link: Link, call: Call, record: Record) -> bool:
    try:
        async with asyncio.TaskGroup() as group:
            upload = group.create_task(_upload(client, link, call))
            goes_on = await relay(client, link, await link.response(), call, record)
            upload.cancel()  # an answer that is complete before the request is: the rest has no reader
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return goes_on


async def _upload(client: Client, link: Link, call: Call) -> None:
    try:
        while piece := await client.body():
            call.count(len(piece), 0)
            await link.send(piece)
        await link.end()
    except ConnectionError:
        return  # the upstream takes no more: its answer, which is being read, says why; or the client is gone


async def relay(client: Client, link: Link, response: Response, call: Call, record: Record) -> bool:
    """Carry an answer back whose head has come; return whether the client's connection can go on."""

    def counted(piece: bytes) -> bytes:
        record.received_bytes += len(piece)
        call.count(0, len(piece))
        return piece

    async def read() -> bytes:
        return counted(await link.body())

    headers = returned(response.headers, call.forms, authorised=call.authorised)
    piece, watch = counted(link.take_body()), None
    if call.keep_minted is not None:
        sifted = await sift(headers, piece, None if link.ended else read, call.forms, call.keep_minted)
        headers, piece, watch = sifted.headers, sifted.body, sifted.watch
    record.status = response.status
    client.begin(response.status, headers)
    if link.ended:  # all that is left goes out together
        return await client.finish(blot(piece, call.forms))
    if not piece:
        await client.flush()
    scrubber = Scrubber(call.forms)
    while not link.ended:
        if piece:
            await client.send(scrubber.feed(piece))
        piece = await read()
        if watch is not None:
            watch.feed(piece)
    return await client.finish(scrubber.last(piece))


def _unanswered() -> Refusal:
    return Refusal(502, "the upstream ended the connection without an answer")
