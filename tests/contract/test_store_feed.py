"""The transcript in PostgreSQL keeps the chat feed's contract."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from tests.contract.chat_feed import ChatFeedContract, Talk

from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.event import Event, ReplyQueued, TurnFinished, TurnOutcome
from subclaw.core.feed import FeedItem
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, connect, open_database
from subclaw.store.feed import StoreFeed
from subclaw.turns.intake import StoreIntake


class StoreTalk:
    """The store, with an agent that takes each message into a turn at once and ends the turn when it is told to."""

    def __init__(self, database: Database, address: DatabaseAddress, feed: StoreFeed) -> None:
        self._database = database
        self._address = address
        self._feed = feed
        self._leases: dict[Address, Lease] = {}

    async def receive(self, message: InboundMessage) -> Receipt:
        receipt = await StoreIntake(self._database, sends=lambda _: False, public_url="http://localhost").receive(
            message
        )
        await self._take_up(message.sender)
        await conversations.finish(self._database, self._leases[message.sender], [], reply="", send=False)
        return receipt

    async def reply(self, address: Address, text: str) -> None:
        await self._wake(address)
        (lease,) = await conversations.claim(self._database, 1, 1)
        last: list[Event] = [ReplyQueued(text=text), TurnFinished(outcome=TurnOutcome.ANSWERED)]
        await conversations.finish(self._database, lease, last, reply=text, send=False)

    async def type(self, address: Address, on: bool) -> None:
        async with await connect(self._address, Role.OWNER) as owner:
            await owner.execute(
                "UPDATE conversation SET turn_open = %s WHERE channel = %s AND address = %s",
                [on, address.channel, address.address],
            )
            await owner.execute("SELECT pg_notify('subclaw_feed', %s)", [f"{address.channel} {address.address}"])

    def follow(self, address: Address, after: int) -> AsyncGenerator[FeedItem, None]:
        return self._feed.follow(address, after)

    async def _take_up(self, address: Address) -> None:
        (self._leases[address],) = await conversations.claim(self._database, 1, 1)
        await conversations.open_turn(self._database, self._leases[address])

    async def _wake(self, address: Address) -> None:
        async with await connect(self._address, Role.OWNER) as owner:
            await owner.execute(
                "UPDATE conversation SET wake_at = now() WHERE channel = %s AND address = %s",
                [address.channel, address.address],
            )


class TestStoreFeed(ChatFeedContract):
    """See `ChatFeedContract`."""

    @pytest.fixture(autouse=True)
    def _database(self, address: DatabaseAddress) -> None:
        self.address = address

    def opened(self) -> AbstractAsyncContextManager[Talk]:
        @asynccontextmanager
        async def talk() -> AsyncIterator[Talk]:
            async with open_database(self.address, Role.APP) as database:
                feed = StoreFeed(database, self.address)
                listening = asyncio.create_task(feed.run())
                await feed.listening.wait()
                yield StoreTalk(database, self.address, feed)
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

        return talk()
