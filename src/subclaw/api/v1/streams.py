"""Server-sent events: encoded, kept alive, and no more of them at once than there is room for."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.applications import Starlette
from starlette.responses import StreamingResponse

from subclaw.api.v1.inside import Inside
from subclaw.core.errors import Unavailable

PING_S = 15.0
LIFE_S = 900.0
"""How long a stream lasts before its caller has to come again, with a key that is still good."""
RECONNECT_MS = (1_000, 3_000)
T = TypeVar("T")


def require_place(app: Starlette) -> None:
    """Raise `Unavailable` if too many calls wait already: before an answer has begun, which could not be taken back."""
    inside: Inside = app.state.inside
    if app.state.waiting >= inside.streams_limit:
        raise Unavailable("Too many streams are open. Come again in a moment.")


@asynccontextmanager
async def a_place(app: Starlette) -> AsyncIterator[None]:
    """Take one of the places for calls that wait."""
    app.state.waiting += 1
    try:
        yield
    finally:
        app.state.waiting -= 1


def encode(data: str, *, event: str = "", id: int | None = None) -> str:
    """Return an event as text. `data` has no line breaks, since it is JSON. Source: WHATWG HTML, section 9.2."""
    named = f"event: {event}\n" if event else ""
    numbered = f"id: {id}\n" if id is not None else ""
    return f"{named}{numbered}data: {data}\n\n"


def hello() -> str:
    """Return how a stream begins: callers come again after a time of their own, not all at once."""
    return f"retry: {random.randint(*RECONNECT_MS)}\n\n"


def event_stream(pieces: AsyncIterator[str]) -> StreamingResponse:
    """Return a response that streams events."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(pieces, media_type="text/event-stream", headers=headers)


async def with_pings(items: AsyncGenerator[T, None], life_s: float = LIFE_S) -> AsyncGenerator[T | None, None]:
    """Yield what comes, and None whenever nothing came for a while, until its life is over or nothing can come."""
    ends_at = asyncio.get_running_loop().time() + life_s
    coming: asyncio.Future[T] | None = None
    try:
        while (left_s := ends_at - asyncio.get_running_loop().time()) > 0:
            coming = coming or asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait({coming}, timeout=min(PING_S, left_s))
            if not done:
                yield None
                continue
            try:
                item = coming.result()
            except (StopAsyncIteration, Unavailable):
                return
            coming = None
            yield item
    finally:
        if coming is not None:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Unavailable):
                await coming
        await items.aclose()
