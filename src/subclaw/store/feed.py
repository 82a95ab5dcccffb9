"""The chat feed from the transcript: read on a notification, so that a page shows a reply the moment it is stored."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from subclaw.core.channel import Address
from subclaw.core.errors import Unavailable
from subclaw.core.feed import FeedItem, SaidByAgent, SaidByPerson, Typing
from subclaw.core.outgoing import OutgoingFile
from subclaw.store.database import Database, DatabaseAddress, Role, connect
from subclaw.store.notify import Topic, listen, notifications

PAGE_ITEMS = 200

BEGUN = " begun"
"""What a notification ends with that says no more than that a turn has begun."""

BEGUN_S = 0.5
"""How long a page is not told that a turn has begun: one that is quicker is told of once, with its reply."""


class StoreFeed:
    """See `core.feed.ChatFeed`. One connection listens for all pages; `run` must be running."""

    def __init__(self, database: Database, address: DatabaseAddress) -> None:
        self._database = database
        self._address = address
        self._followers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._put_off: dict[str, asyncio.TimerHandle] = {}
        self.ended = False
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listen and wake followers, until cancelled. Errors: `Unavailable` when the connection is lost."""
        connection = await connect(self._address, Role.APP)
        async with connection:
            await listen(connection, Topic.FEED)
            self.listening.set()
            try:
                async for notification in notifications(connection):
                    self._tell(notification.payload)
            finally:
                self.end()

    def _tell(self, payload: str) -> None:
        key = payload.removesuffix(BEGUN)
        if key not in self._followers:
            return
        if put_off := self._put_off.pop(key, None):
            put_off.cancel()
        if key == payload:
            self._wake(key)
        else:
            self._put_off[key] = asyncio.get_running_loop().call_later(BEGUN_S, self._wake, key)

    def wake(self, address: Address) -> None:
        """Have those who follow an address look whether there is something new."""
        self._wake(_key(address))

    def _wake(self, key: str) -> None:
        self._put_off.pop(key, None)
        for follower in self._followers.get(key, ()):
            follower.set()

    def end(self) -> None:
        """End what all followers follow, with `Unavailable`: they come again, to us or to another process."""
        self.ended = True
        for follower in [event for events in self._followers.values() for event in events]:
            follower.set()

    async def follow(self, address: Address, after: int) -> AsyncGenerator[FeedItem, None]:
        """See `core.feed.ChatFeed.follow`."""
        typing: bool | None = None
        with self.news(address) as news:
            while not self.ended:
                news.clear()
                turn_open, items = await self._read(address, after)
                for item in items:
                    after = item["seq"]
                    yield _feed_item(item)
                if len(items) == PAGE_ITEMS:
                    continue
                if turn_open != typing:
                    typing = turn_open
                    yield Typing(on=typing)
                await news.wait()
        raise Unavailable("The chat is restarting.")

    async def _read(self, address: Address, after: int) -> tuple[bool, list[dict[str, Any]]]:
        rows = await self._database.rows(
            "SELECT * FROM read_feed(%s, %s, %s, %s)", address.channel, address.address, after, PAGE_ITEMS
        )
        return (rows[0][0], rows[0][1]) if rows else (False, [])

    @contextmanager
    def news(self, address: Address) -> Iterator[asyncio.Event]:
        """Give an event that is set when there is something new at an address, or the feed has `ended`."""
        key, news = _key(address), asyncio.Event()
        self._followers[key].add(news)
        try:
            yield news
        finally:
            self._followers[key].discard(news)
            if not self._followers[key]:
                del self._followers[key]


def _key(address: Address) -> str:
    return f"{address.channel} {address.address}"


def _feed_item(row: Mapping[str, Any]) -> FeedItem:
    at = datetime.fromisoformat(row["at"])
    if row["type"] == "message.received":
        body = row["body"]
        return SaidByPerson(seq=row["seq"], text=body["text"], at=at, provider_id=body["provider_id"])
    files = tuple(OutgoingFile(**file) for file in row["body"].get("files", ()))
    return SaidByAgent(seq=row["seq"], text=row["body"]["text"], at=at, files=files)
