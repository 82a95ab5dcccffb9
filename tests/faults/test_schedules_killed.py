"""Processes that keep time are killed with SIGKILL, over and over: every schedule happens all the same, and once.

Some of them come again, and stand at their next time then.
"""

import asyncio
import random
import sys
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from subclaw.core.channel import Address, InboundMessage
from subclaw.core.recurrence import Recurrence
from subclaw.core.schedule import ScheduleMode
from subclaw.core.tool import Caller
from subclaw.store import conversations
from subclaw.store.database import Connection, Database, DatabaseAddress, Role, connect, open_database
from subclaw.store.schedules import StoreSchedules

DEADLINE_S = 60
SENDERS = "abcde"
EACH = 80
AGAIN_EVERY = 5
SPREAD_S = 4.0
KEEPER = """
import asyncio, sys
from subclaw.schedules import reminders
from subclaw.store.database import DatabaseAddress, Role, open_database

async def main():
    address = DatabaseAddress(url=sys.argv[1], private=True)
    async with open_database(address, Role.APP, size=1) as database:
        await reminders.keep_time(database, address, read_in_place=["web"])

asyncio.run(main())
"""
KEEPERS = 2

HAPPENED = "SELECT count(*) FILTER (WHERE times > 0) FROM schedule"
STANDS = """
    SELECT state, times, missed, due_at - last_due_at BETWEEN interval '23 hours' AND '25 hours', count(*)
    FROM schedule GROUP BY 1, 2, 3, 4 ORDER BY 1
"""
REPLIES = "SELECT conversation_id, body ->> 'text' FROM event WHERE type = 'reply.queued'"
SENT = "SELECT conversation_id, text FROM outbox"
WOKEN = "SELECT conversation_id, text FROM inbox WHERE provider_id LIKE 'schedule:%'"


def test_every_schedule_happens_once_whoever_is_killed(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE_S), await connect(address, Role.OWNER) as owner:
            async with open_database(address, Role.APP) as database:
                planned = [await plan(database, sender) for sender in SENDERS]
            wanted = {(id, f"{n}") for id in planned for n in range(EACH)}
            kills = await kill_until_all_happened(address, owner)
            assert kills >= 3, "the killing was over before it had begun"
            messages = {one for one in wanted if int(one[1]) % 2 == 0}
            for query, expected in ((REPLIES, messages), (SENT, messages), (WOKEN, wanted - messages)):
                found = await (await owner.execute(query)).fetchall()
                assert len(found) == len(expected), "none twice"
                assert set(found) == expected, "none lost"
            again = len(SENDERS) * len(range(0, EACH, AGAIN_EVERY))
            assert await (await owner.execute(STANDS)).fetchall() == [
                ("fired", 1, 0, False, len(SENDERS) * EACH - again),
                ("pending", 1, 0, True, again),
            ]

    asyncio.run(scenario())


async def plan(database: Database, sender: str) -> int:
    """Set schedules of both modes in a conversation, spread over some seconds; return the conversation."""
    message = InboundMessage(
        sender=Address(channel="sms", address=sender), provider_id="1", text="hello", received_at=datetime.now(UTC)
    )
    receipt = await conversations.receive(database, message, [f"name-{sender}"])
    caller = Caller(tenant_id=receipt.tenant_id, conversation_id=receipt.conversation_id, call_id="", turn_id="")
    for n in range(EACH):
        due_at = datetime.now(UTC) + timedelta(seconds=1 + SPREAD_S * n / EACH)
        daily = Recurrence(rule="FREQ=DAILY", time_zone="UTC", wall=due_at.replace(tzinfo=None))
        await StoreSchedules(database).set(
            replace(caller, call_id=f"call_{n}"),
            due_at=due_at,
            mode=ScheduleMode.AGENT_TURN if n % 2 else ScheduleMode.MESSAGE,
            text=f"{n}",
            recurrence=None if n % AGAIN_EVERY else daily,
        )
    return receipt.conversation_id


async def kill_until_all_happened(address: DatabaseAddress, owner: Connection) -> int:
    """Keep processes running, and kill one each time that some more has happened; return how many were killed."""
    kills = 0
    total = len(SENDERS) * EACH
    async with keepers(address) as running:
        while (before := await happened(owner)) < total:
            enough = min(before + random.randint(1, 30), total)
            while await happened(owner) < enough:
                await asyncio.sleep(0.001)
            victim = running.pop(0)
            victim.kill()
            await victim.wait()
            kills += 1
            running.append(await keeper(address))
    return kills


async def happened(owner: Connection) -> int:
    ((count,),) = await (await owner.execute(HAPPENED)).fetchall()
    return int(count)


async def keeper(address: DatabaseAddress) -> Process:
    return await create_subprocess_exec(sys.executable, "-c", KEEPER, address.url)


@asynccontextmanager
async def keepers(address: DatabaseAddress) -> AsyncIterator[list[Process]]:
    """Run some processes that keep time, and end those that are left."""
    running = [await keeper(address) for _ in range(KEEPERS)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            await process.wait()
