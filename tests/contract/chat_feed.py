"""What every `ChatFeed` must do, whatever is behind it. A test module subclasses this and says how to open one."""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from typing import Protocol

from subclaw.core.channel import Address, InboundMessage, Intake
from subclaw.core.feed import ChatFeed, FeedItem, SaidByAgent, SaidByPerson, Typing

ANN = Address(channel="web", address="a" * 64)
BOB = Address(channel="web", address="b" * 64)
DEADLINE_S = 20.0


class Talk(Intake, ChatFeed, Protocol):
    """A feed, an intake that fills it, and the agent's side."""

    async def reply(self, address: Address, text: str) -> None:
        """Let the agent say something, and stop typing."""
        ...

    async def type(self, address: Address, on: bool) -> None:
        """Let the agent begin or stop to type."""
        ...


async def say(talk: Talk, sender: Address, text: str) -> str:
    """Hand in a message and return its provider id."""
    provider_id = f"{sender.address}:{uuid.uuid4()}"
    await talk.receive(InboundMessage(sender=sender, provider_id=provider_id, text=text, received_at=datetime.now(UTC)))
    return provider_id


async def take(items: AsyncGenerator[FeedItem, None], count: int) -> list[FeedItem]:
    """Return the next items."""
    return [await anext(items) for _ in range(count)]


def texts(items: list[FeedItem]) -> list[str]:
    """Return what was said."""
    return [item.text for item in items if not isinstance(item, Typing)]


class ChatFeedContract(ABC):
    """The contract's tests."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[Talk]:
        """Open an empty one."""

    def play(self, steps: Callable[[Talk], Awaitable[None]]) -> None:
        """Run one test's steps."""

        async def run() -> None:
            async with asyncio.timeout(DEADLINE_S), self.opened() as talk:
                await steps(talk)

        asyncio.run(run())

    def test_backlog_in_order_then_typing(self) -> None:
        async def steps(talk: Talk) -> None:
            provider_id = await say(talk, ANN, "one")
            await talk.reply(ANN, "two")
            async with aclosing(talk.follow(ANN, 0)) as items:
                one, two, typing = await take(items, 3)
            assert isinstance(one, SaidByPerson)
            assert isinstance(two, SaidByAgent)
            assert (one.text, one.provider_id, two.text) == ("one", provider_id, "two")
            assert 0 < one.seq < two.seq
            assert one.at.tzinfo is not None
            assert typing == Typing(on=False)

        self.play(steps)

    def test_who_has_said_nothing_is_waited_for(self) -> None:
        async def steps(talk: Talk) -> None:
            async with aclosing(talk.follow(ANN, 0)) as items:
                assert await take(items, 1) == [Typing(on=False)]
                await say(talk, ANN, "first")
                assert texts(await take(items, 1)) == ["first"]

        self.play(steps)

    def test_goes_on_after_what_was_seen(self) -> None:
        async def steps(talk: Talk) -> None:
            await say(talk, ANN, "one")
            await talk.reply(ANN, "two")
            async with aclosing(talk.follow(ANN, 0)) as items:
                seen = (await take(items, 2))[0]
            assert not isinstance(seen, Typing)
            async with aclosing(talk.follow(ANN, seen.seq)) as items:
                assert texts(await take(items, 2)) == ["two"]
                await talk.reply(ANN, "three")
                assert texts(await take(items, 1)) == ["three"]

        self.play(steps)

    def test_typing_is_told_at_each_change_and_to_who_comes_late(self) -> None:
        async def steps(talk: Talk) -> None:
            await say(talk, ANN, "one")
            async with aclosing(talk.follow(ANN, 0)) as items:
                await take(items, 2)
                await talk.type(ANN, True)
                assert await take(items, 1) == [Typing(on=True)]
                async with aclosing(talk.follow(ANN, 0)) as late:
                    assert (await take(late, 2))[1] == Typing(on=True)
                await talk.reply(ANN, "two")
                told = await take(items, 2)
                assert Typing(on=False) in told
                assert texts(told) == ["two"]

        self.play(steps)

    def test_everybody_who_follows_hears_all_of_it_and_nothing_of_others(self) -> None:
        async def steps(talk: Talk) -> None:
            async with aclosing(talk.follow(ANN, 0)) as one, aclosing(talk.follow(ANN, 0)) as two:
                await take(one, 1)
                await take(two, 1)
                await say(talk, BOB, "private")
                await talk.reply(BOB, "secret")
                await say(talk, ANN, "hello")
                assert texts(await take(one, 1)) == texts(await take(two, 1)) == ["hello"]

        self.play(steps)
