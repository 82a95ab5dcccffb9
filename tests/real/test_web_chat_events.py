"""The web chat's event stream over a real server."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from fastapi import FastAPI

from subclaw.channels.web.inbound import web_router
from subclaw.channels.web.person import web_address
from subclaw.core.channel import Address
from subclaw.core.feed import ChatFeed, FeedItem, Typing
from subclaw.testing.chat import MemoryChat
from subclaw.testing.serving import serving

TOKEN = "t" * 43
ADDRESS = web_address(TOKEN)


def play(
    steps: Callable[[aiohttp.ClientSession, MemoryChat], Awaitable[None]],
    *,
    feed: ChatFeed | None = None,
    streams_limit: int = 10,
) -> None:
    async def run() -> None:
        chat, app = MemoryChat(), FastAPI()
        async with asyncio.timeout(30), serving(app) as port:
            url = f"http://127.0.0.1:{port}"
            app.include_router(
                web_router(intake=chat, feed=feed or chat, title="subclaw", public_url=url, streams_limit=streams_limit)
            )
            headers = {"Cookie": f"subclaw_web={TOKEN}"}
            async with aiohttp.ClientSession(url, headers=headers) as session:
                await steps(session, chat)

    asyncio.run(run())


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """Read a stream's events by the rules of the HTML standard, section 9.2.6, as far as we use them."""
    event: dict[str, Any] = {}
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if not name and not value and "data" in event:
            yield event
        if not name:
            event = {} if not value else event
        elif name == "data":
            event["data"] = json.loads(value)
        else:
            event[name] = value


async def first(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for event in events(response):
        found.append(event)
        if len(found) == count:
            break
    return found


def test_backlog_then_typing_then_live_and_resumed_without_gap_or_double() -> None:
    async def steps(session: aiohttp.ClientSession, chat: MemoryChat) -> None:
        message_id = str(uuid.uuid4())
        await session.post("/chat/messages", json={"id": message_id, "text": "one\ntwo"})
        await chat.reply(ADDRESS, "three")
        async with session.get("/chat/events") as response:
            assert response.content_type == "text/event-stream"
            one, three, typing = await first(response, 3)
            assert (one["event"], one["id"], one["data"]["text"]) == ("person", "1", "one\ntwo")
            assert one["data"]["id"] == message_id
            assert (three["event"], three["id"], three["data"]["text"]) == ("agent", "2", "three")
            assert (typing["event"], typing["data"], "id" in typing) == ("typing", {"on": False}, False)
            await chat.type(ADDRESS, True)
            assert (await first(response, 1))[0]["data"] == {"on": True}
        await chat.reply(ADDRESS, "four")
        for query, headers in (("?after=2", {}), ("", {"Last-Event-ID": "2"}), ("?after=0", {"Last-Event-ID": "2"})):
            async with session.get("/chat/events" + query, headers=headers) as response:
                assert (await first(response, 1))[0]["data"]["text"] == "four"
        for query in ("?after=x", "?after=-1", "?after=" + "9" * 30):
            async with session.get("/chat/events" + query) as response:
                assert (await first(response, 1))[0]["id"] == "1"

    play(steps)


def test_nobody_hears_anybody_else() -> None:
    async def steps(session: aiohttp.ClientSession, chat: MemoryChat) -> None:
        await chat.reply(Address(channel="web", address="somebody else"), "private")
        async with session.get("/chat/events") as response:
            assert (await first(response, 1))[0]["event"] == "typing"

    play(steps)


def test_a_feed_that_is_down_ends_the_stream_so_that_the_page_comes_back() -> None:
    async def steps(session: aiohttp.ClientSession, chat: MemoryChat) -> None:
        async with session.get("/chat/events") as response:
            await first(response, 1)
            chat.available = False
            await chat.type(ADDRESS, True)
            assert [event async for event in events(response) if event.get("event") != "typing"] == []
        async with session.get("/chat/events") as response:
            assert response.status == 200
            assert [event async for event in events(response)] == []

    play(steps)


class WatchedFeed:
    """A feed that tells when its followers are gone."""

    def __init__(self) -> None:
        self.following = 0
        self.changed = asyncio.Condition()

    async def follow(self, address: Address, after: int) -> AsyncGenerator[FeedItem, None]:
        await self._count(1)
        try:
            yield Typing(on=False)
            await asyncio.Event().wait()
        finally:
            await self._count(-1)

    async def _count(self, change: int) -> None:
        async with self.changed:
            self.following += change
            self.changed.notify_all()

    async def reached(self, following: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.following == following)


def test_streams_are_bounded_and_a_reader_who_leaves_is_no_longer_followed() -> None:
    feed = WatchedFeed()

    async def steps(session: aiohttp.ClientSession, chat: MemoryChat) -> None:
        async with session.get("/chat/events") as one, session.get("/chat/events") as two:
            await first(one, 1)
            await first(two, 1)
            async with session.get("/chat/events") as three:
                assert three.status == 503
                assert int(three.headers["Retry-After"]) > 0
            assert feed.following == 2
        await feed.reached(0)
        async with session.get("/chat/events") as again:
            assert len(await first(again, 1)) == 1
        await feed.reached(0)

    play(steps, feed=feed, streams_limit=2)
