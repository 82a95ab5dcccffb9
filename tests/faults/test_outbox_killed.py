"""Senders are killed with SIGKILL at every step: the provider has each part of a reply exactly once, in order."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess

import pytest
from tests.faults.forked import started
from tests.faults.outbox_sender import ACCOUNT, NUMBER, RETRIES_S, TIMES, TOKEN, send_until

from subclaw.channels.sms.channel import SmsChannel
from subclaw.channels.sms.twilio_client import twilio_client
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.event import Event, ReplyQueued, TurnFinished, TurnOutcome
from subclaw.store import conversations
from subclaw.store.database import Connection, Database, DatabaseAddress, Role, connect, open_database
from subclaw.testing.channels.twilio import Behaviour, FakeTwilio, fake_twilio
from subclaw.turns.outbox import deliver

DEADLINE_S = 240
SENDER_LIFE_S = 15.0
LIST_LAG_S = 0.1


@asynccontextmanager
async def sender(address: DatabaseAddress, fake: FakeTwilio, *, victim: int = 0) -> AsyncIterator[ForkServerProcess]:
    """Run a sender that kills itself at its step `victim` (the first is 1), if it comes to that."""
    process = started(send_until, victim, address, fake.base_url)
    try:
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.join)


async def reply(database: Database, person: str, number: int, text: str) -> None:
    """Queue a reply to a person."""
    sender_of = Address(channel="sms", address=person)
    inbound = InboundMessage(sender=sender_of, provider_id=f"{number}", text="hi", received_at=datetime.now(UTC))
    await conversations.receive(database, inbound, [f"name-{person[1:]}"])
    (lease,) = await conversations.claim(database, 1, 1)
    await conversations.open_turn(database, lease)
    last: list[Event] = [ReplyQueued(text=text), TurnFinished(outcome=TurnOutcome.ANSWERED)]
    await conversations.finish(database, lease, last, reply=text, send=True)


def two_parts(mark: str) -> str:
    """Return a text of two text messages."""
    return "\n\n".join(letter * 1000 + mark for letter in "ab")


def run(scenario: Callable[[FakeTwilio], Awaitable[None]]) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(DEADLINE_S),
            fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN) as fake,
        ):
            fake.list_lag_s = LIST_LAG_S
            await scenario(fake)

    asyncio.run(main())


async def unsent(owner: Connection) -> int:
    ((count,),) = await (await owner.execute("SELECT count(*) FROM outbox WHERE state <> 'sent'")).fetchall()
    return int(count)


def texts(fake: FakeTwilio, person: str) -> list[str]:
    return [message.text for message in fake.messages if message.to == person]


def test_a_sender_that_dies_at_any_step_doubles_and_loses_nothing(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die at step N, let another finish, then N + 1, until one comes through.

    On the way the last part is at first not taken at all, and then it is taken and the answer lost.
    """
    monkeypatch.setattr("subclaw.core.delivery._RETRIES_S", RETRIES_S)

    async def scenario(fake: FakeTwilio) -> None:
        async with open_database(address, Role.APP, size=2) as database, await connect(address, Role.OWNER) as owner:
            died, victim = True, 0
            while died:
                victim += 1
                fake.messages.clear()
                fake.behaviours.clear()
                fake.behaviours.extend([Behaviour.ACCEPT, Behaviour.FAIL, Behaviour.FAIL_TAKEN])
                await reply(database, "+1", victim, two_parts(f"{victim}"))
                async with sender(address, fake, victim=victim) as first:
                    while first.exitcode is None and await unsent(owner):
                        await asyncio.sleep(0.01)
                    died = first.exitcode is not None
                await finished(address, database, owner, fake)
                assert "\n\n".join(texts(fake, "+1")) == two_parts(f"{victim}"), f"killed at step {victim}"
            assert victim > 25, "there are more steps than that"

    run(scenario)


async def finished(address: DatabaseAddress, database: Database, owner: Connection, fake: FakeTwilio) -> None:
    """Let a sender that is well do what is left."""
    async with twilio_client(account_sid=ACCOUNT, auth_token=TOKEN, base_url=fake.base_url) as client:
        channels = {"sms": SmsChannel(client=client, from_number=NUMBER)}
        well = asyncio.create_task(deliver(database, address, channels, times=TIMES))
        while await unsent(owner):
            assert not well.done()
            await asyncio.sleep(0.01)
        well.cancel()
        await asyncio.gather(well, return_exceptions=True)


@pytest.mark.parametrize("behaviour", [Behaviour.HANG, Behaviour.HANG_TAKEN])
def test_a_sender_that_dies_while_it_waits_for_the_answer(address: DatabaseAddress, behaviour: Behaviour) -> None:
    async def scenario(fake: FakeTwilio) -> None:
        async with open_database(address, Role.APP, size=2) as database, await connect(address, Role.OWNER) as owner:
            fake.behaviours.extend([Behaviour.ACCEPT, behaviour])
            await reply(database, "+1", 1, two_parts(""))
            await reply(database, "+1", 2, "and then?")
            async with sender(address, fake) as first:
                while fake.requests < 2 or fake.behaviours:
                    await asyncio.sleep(0.01)
                first.kill()
                await asyncio.to_thread(first.join)
            await finished(address, database, owner, fake)
            assert "\n\n".join(texts(fake, "+1")) == two_parts("") + "\n\nand then?"

    run(scenario)


def test_two_senders_that_are_killed_over_and_over_and_a_twilio_that_misbehaves(address: DatabaseAddress) -> None:
    people, each = [f"+1555010{number:04}" for number in range(5)], 6
    bad = [Behaviour.FAIL, Behaviour.FAIL_TAKEN, Behaviour.DROP, Behaviour.BABBLE, *[Behaviour.ACCEPT] * 6]

    async def scenario(fake: FakeTwilio) -> None:
        fake.behaviours.extend(random.choices(bad, k=40))
        async with open_database(address, Role.APP, size=2) as database, await connect(address, Role.OWNER) as owner:
            for number in range(each):
                for person in people:
                    await reply(database, person, number, f"text {number}")
            async with asyncio.TaskGroup() as group:
                deaths = [group.create_task(die_over_and_over(address, owner, fake)) for _ in range(2)]
            assert sum(death.result() for death in deaths) >= 3
            for person in people:
                assert texts(fake, person) == [f"text {number}" for number in range(each)]

    run(scenario)


async def die_over_and_over(address: DatabaseAddress, owner: Connection, fake: FakeTwilio) -> int:
    """Run senders that die soon, one after the other, until all is sent; return how many died.

    One that has not died by itself for a while is killed wherever it is.
    """
    deaths, clock = 0, asyncio.get_running_loop().time
    while await unsent(owner):
        async with sender(address, fake, victim=random.randint(1, 25)) as process:
            killed_at_s = clock() + SENDER_LIFE_S
            while process.exitcode is None and await unsent(owner) and clock() < killed_at_s:
                await asyncio.sleep(0.01)
            deaths += process.exitcode is not None or clock() >= killed_at_s
    return deaths
