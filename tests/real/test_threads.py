"""Threads against a real PostgreSQL: a reply goes where the last of what it answers was said."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import psycopg
from tests.real.test_store import claim_one

from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.event import Event, ReplyQueued, TurnFinished, TurnOutcome
from subclaw.store import conversations
from subclaw.store.conversations import OpenTurn
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.outbox import claim_outbox
from subclaw.turns.intake import StoreIntake


async def say(database: Database, provider_id: str, thread: str, *, text: str = "hi") -> Receipt:
    sender = Address(channel="slack", address="C1", thread=thread)
    message = InboundMessage(sender=sender, provider_id=provider_id, text=text, received_at=datetime.now(UTC))
    intake = StoreIntake(database, sends=lambda _: True, public_url="http://localhost")
    return await intake.receive(message)


async def answer(database: Database, *, meanwhile: Callable[[], Awaitable[object]] | None = None) -> OpenTurn:
    lease = await claim_one(database)
    opened = await conversations.open_turn(database, lease)
    if meanwhile:
        await meanwhile()
    last: list[Event] = [ReplyQueued(text="yes"), TurnFinished(outcome=TurnOutcome.ANSWERED)]
    while not await conversations.finish(database, lease, last, reply="yes", send=True):
        await conversations.open_turn(database, lease)
    return opened


async def threads(database: Database) -> list[str]:
    """Return where the replies go that are due; they are taken."""
    return [one.to.thread for one in await claim_outbox(database, 1, 8)]


def run(address: DatabaseAddress, scenario: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), open_database(address, Role.APP) as database:
            await scenario(database)

    asyncio.run(main())


def settle(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
        connection.execute("UPDATE outbox SET state = 'sent', owner = NULL WHERE state = 'sending'")


def test_all_threads_of_a_place_are_one_conversation_and_each_is_answered_in_itself(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenants = set()
        for number, thread in enumerate(("17.1", "", "18.2")):
            receipt = await say(database, f"m{number}", thread)
            tenants.add((receipt.tenant_id, receipt.conversation_id))
            opened = await answer(database)
            assert opened.conversation.reply_to.thread == thread, "where it is shown that the agent is at work"
            assert await threads(database) == [thread]
            settle(address)
        assert len(tenants) == 1

    run(address, scenario)


def test_a_second_delivery_in_a_thread_is_still_one_message(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        assert not (await say(database, "m1", "17.1")).duplicate
        assert (await say(database, "m1", "17.1")).duplicate

    run(address, scenario)


def test_what_comes_meanwhile_from_elsewhere_does_not_lead_a_reply_astray(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, "m1", "17.1")
        await answer(database, meanwhile=lambda: say(database, "m2", "18.2"))
        assert await threads(database) == ["17.1"]
        settle(address)
        assert await threads(database) == ["18.2"]

    run(address, scenario)


def test_a_key_that_is_taken_out_of_a_message_leaves_it_in_its_thread(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, "m1", "17.1", text="ghp_" + "a1B2" * 9)
        lease = await claim_one(database)
        opened = await conversations.open_turn(database, lease)
        assert opened.conversation.reply_to.thread == "17.1"

    run(address, scenario)
