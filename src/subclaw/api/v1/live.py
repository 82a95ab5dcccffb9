"""A session as its stream has it: what happened, and between that what is being said, which does not count yet."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from subclaw.api.v1.inside import Inside
from subclaw.core.business import SESSION_CHANNEL
from subclaw.core.channel import Address
from subclaw.core.errors import Unavailable
from subclaw.store.live import Spoken
from subclaw.store.session_events import SessionEvent, Working, follow_session

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Delta:
    """More of the reply that is being said in a turn."""

    turn: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Reset:
    """What deltas of a turn's reply said does not count; `after_calls` says that the agent uses its tools first."""

    turn: int
    after_calls: bool


Happening = SessionEvent | Working | Delta | Reset


@dataclass(kw_only=True)
class Shown:
    """What of a session was shown: events until `seen`, and `characters` of an attempt at a reply.

    Turns that began before `over` are over. Whoever comes again may show something still, and `must_reset` first.
    """

    seen: int
    over: int = 0
    must_reset: bool = False
    turn: int = 0
    attempt: int = 0
    characters: int = 0

    def goes_on(self, item: SessionEvent | Working) -> Reset | None:
        """Note what happens; return what is to be shown before it."""
        reset = None
        if isinstance(item, SessionEvent):
            self.seen = item.seq
            if item.type == "turn.finished" and self.characters:
                reset = Reset(turn=self.turn, after_calls=False)
            if item.type in ("reply.queued", "turn.finished"):
                self.over, self.characters, self.must_reset = item.seq, 0, False
        elif not item.on:
            self.over = self.seen
        return reset

    def hears(self, spoken: Spoken) -> Iterator[Delta | Reset]:
        """Yield what is to be shown of what was said so far."""
        if not self.over < spoken.turn < self.seen:  # the message comes right after the beginning of its turn
            return
        if spoken.attempt != self.attempt:
            has_shown = self.characters > 0 or self.must_reset
            self.turn, self.attempt, self.characters, self.must_reset = spoken.turn, spoken.attempt, 0, False
            if has_shown:
                yield Reset(turn=spoken.turn, after_calls=spoken.after_calls)
        if len(spoken.text) > self.characters:
            more = spoken.text[self.characters :]
            self.characters = len(spoken.text)
            yield Delta(turn=spoken.turn, text=more)


async def follow_aloud(inside: Inside, session_id: str, after: int) -> AsyncGenerator[Happening, None]:
    """Yield what happens in a session after `after`, and what is being said. It is to be expected before.

    Errors: `Unavailable`, as `follow_session`.
    """
    shown, address = Shown(seen=after, must_reset=after > 0), Address(channel=SESSION_CHANNEL, address=session_id)
    read_for = 0
    with inside.live.follow(session_id) as ears:
        items = follow_session(inside.database, inside.feed, session_id, after)
        async with aclosing(_beside(items, ears.news)) as found:
            async for item in found:
                if item is not None:
                    if reset := shown.goes_on(item):
                        yield reset
                    yield item
                    ears.forget(shown.over)
                if (spoken := ears.spoken) is None:
                    continue
                for said in shown.hears(spoken):
                    yield said
                if read_for < spoken.turn >= shown.seen:  # its turn has begun, and was not read yet
                    read_for = spoken.turn
                    inside.feed.wake(address)


async def follow_quietly(inside: Inside, session_id: str, after: int) -> AsyncGenerator[Happening, None]:
    """Yield what happens in a session after `after`, and nothing else. Errors: as `follow_session`."""
    async with aclosing(follow_session(inside.database, inside.feed, session_id, after)) as items:
        async for item in items:
            yield item


async def _beside(items: AsyncGenerator[T, None], news: asyncio.Event) -> AsyncGenerator[T | None, None]:
    """Yield items as they come, and None whenever there is news beside them."""
    waits: dict[str, asyncio.Future[T | bool]] = {}
    try:
        while True:
            waits["item"] = waits.get("item") or asyncio.ensure_future(anext(items))
            waits["news"] = waits.get("news") or asyncio.ensure_future(news.wait())
            await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED)
            if waits["item"].done():
                yield waits.pop("item").result()  # type: ignore[misc]
            elif waits.pop("news").done():
                news.clear()
                yield None
    finally:
        for wait in waits.values():
            wait.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Unavailable):
                await wait
        await items.aclose()
