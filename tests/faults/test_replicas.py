"""Replicas on one PostgreSQL: one is killed, the others carry on, and nothing is lost, doubled or out of order."""

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from tests.faults.findings import find, look, until_at_rest
from tests.faults.forked import started
from tests.faults.obedient import Trace
from tests.faults.replica import ACCOUNT, TOKEN, Replica, serve

from subclaw.core.channel import Address, InboundMessage
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.notify import workers_alive
from subclaw.testing.channels.twilio import fake_twilio
from subclaw.turns.intake import StoreIntake

DEADLINE_S = 120
AT_ONCE_S = 5.0
POLL_S = 0.01
SESSIONS_EACH = 2
"""A worker process proves two things alive: what runs turns, and what sends replies."""

PEOPLE = 12
KILLS = 6
WANTS = ("", "once", "again", "once+again", "again once", "long", "remind_message", "remind_agent_turn")
RUNNING = "SELECT FROM conversation WHERE turn_open AND owner IS NOT NULL"


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return Trace(path=tmp_path / "trace")


def replica_of(address: DatabaseAddress, trace: Trace, twilio_url: str = "http://127.0.0.1:1") -> Replica:
    return Replica(database_url=address.url, private=True, trace=str(trace.path), twilio_url=twilio_url, think_s=0.05)


@contextmanager
def running(replica: Replica) -> Iterator[ForkServerProcess]:
    """Run a replica for the life of the block."""
    process = started(serve, replica)
    try:
        yield process
    finally:
        end(process)


def end(process: ForkServerProcess) -> None:
    """Kill a process, and wait until it is gone."""
    process.kill()
    process.join()


async def say(database: Database, address: str, id: str, text: str) -> None:
    """Hand in a message; a telephone number is an address for text messages."""
    sender = Address(channel="sms" if address.startswith("+") else "web", address=address)
    message = InboundMessage(sender=sender, provider_id=id, text=text, received_at=datetime.now(UTC))
    await StoreIntake(database, sends=lambda _: False, public_url="http://localhost").receive(message)


async def until_alive(address: DatabaseAddress, replicas: int) -> None:
    """Wait until so many replicas take turns."""
    async with open_database(address, Role.OPERATOR, size=1) as operator:
        while await workers_alive(operator) != replicas * SESSIONS_EACH:
            await asyncio.sleep(POLL_S)


async def until_waiting(trace: Trace, times: int) -> float:
    """Wait until the tool `wait` was called so often; return when it was, by the monotonic clock."""
    while len(trace.noted("wait")) < times:
        await asyncio.sleep(POLL_S)
    return [float(at_s) for kind, _, at_s in trace.lines() if kind == "wait"][times - 1]


def test_one_of_two_is_killed_under_load_over_and_over(address: DatabaseAddress, trace: Trace) -> None:
    said: defaultdict[str, list[str]] = defaultdict(list)
    over = asyncio.Event()

    async def write(database: Database, person: str) -> None:
        for number in itertools.count():
            await asyncio.sleep(random.uniform(0, 0.4))
            if over.is_set():
                return
            await say(
                database, person, f"{person}m{number}", f"please {person}m{number} {random.choice(WANTS)}".strip()
            )
            said[person].append(f"{person}m{number}")

    async def kill(replicas: list[ForkServerProcess], replica: Replica) -> None:
        """Kill one each time that turns run and some more was done."""
        for _ in range(KILLS):
            enough = len(trace.lines()) + random.randint(5, 25)
            while len(trace.lines()) < enough or len(await look(address, RUNNING)) < 2:
                await asyncio.sleep(POLL_S)
            end(replicas.pop(0))
            replicas.append(started(serve, replica))
        over.set()

    async def scenario() -> None:
        async with (
            asyncio.timeout(DEADLINE_S),
            fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN) as twilio,
            open_database(address, Role.APP) as database,
        ):
            replica = replica_of(address, trace, twilio.base_url)
            replicas = [started(serve, replica) for _ in range(2)]
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(kill(replicas, replica))
                    for number in range(PEOPLE):
                        group.create_task(write(database, f"+1555010{number:04}" if number % 2 else f"person{number}"))
                await until_at_rest(address)
            finally:
                for one in replicas:
                    end(one)
            assert (await find(address, said, trace, twilio.messages)).all() == []

    asyncio.run(scenario())


def test_another_replica_takes_a_dead_ones_turn_over(address: DatabaseAddress, trace: Trace) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP) as database:
            with running(replica_of(address, trace)) as first:
                await say(database, "a", "a1", "please a1 wait")
                await until_waiting(trace, 1)
                with running(replica_of(address, trace)):
                    await until_alive(address, 2)
                    first.kill()
                    killed_s = time.monotonic()
                    assert await until_waiting(trace, 2) - killed_s < AT_ONCE_S
                    await until_at_rest(address)
            assert (await find(address, {"a": ["a1"]}, trace, [])).all() == []

    asyncio.run(scenario())


def test_a_replica_that_is_started_anew_takes_its_turn_over_at_once(address: DatabaseAddress, trace: Trace) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP) as database:
            with running(replica_of(address, trace)) as first:
                await say(database, "a", "a1", "please a1 wait")
                await until_waiting(trace, 1)
                end(first)
            started_s = time.monotonic()
            with running(replica_of(address, trace)):
                assert await until_waiting(trace, 2) - started_s < AT_ONCE_S
                await until_at_rest(address)
            assert (await find(address, {"a": ["a1"]}, trace, [])).all() == []

    asyncio.run(scenario())
