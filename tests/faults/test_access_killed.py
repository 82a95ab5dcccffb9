"""Processes are killed with SIGKILL, over and over, while people send keys: each is told so once, with a link."""

import asyncio
import random
import sys
from asyncio.subprocess import Process, create_subprocess_exec
from typing import LiteralString

from tests.real.access_scene import KEY

from subclaw.store.database import Connection, DatabaseAddress, Role, connect

DEADLINE_S = 90
MESSAGES = 60
SENDERS = 5
KILLS = 30

PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime
from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Address, InboundMessage
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.testing.models import ScriptedModel, words
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.intake import StoreIntake
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

async def main(url, role, senders, messages, key):
    address = DatabaseAddress(url=url, private=True)
    async with open_database(address, Role.APP, size=2) as database:
        if role == "worker":
            await work(Turns(
                database=database, model=ScriptedModel([words("answer")]), toolbox=BuiltInToolbox([]),
                agent=AgentSettings(), instructions=lambda _: "", sends=lambda _: True), address, limit=8)
        intake = StoreIntake(database, sends=lambda _: True, public_url="http://localhost")
        for number in range(int(messages)):
            sender = Address(channel="sms", address=f"a{number % int(senders)}")
            await intake.receive(InboundMessage(
                sender=sender, provider_id=f"m{number}", text=f"{key} {number}", received_at=datetime.now(UTC)))
            await asyncio.sleep(0.05)

asyncio.run(main(*sys.argv[1:]))
"""

NOTICES = """
    SELECT conversation_id, body ->> 'text' FROM event WHERE type = 'reply.queued' AND body ->> 'text' LIKE 'I took%'
"""
SENT = "SELECT conversation_id, text FROM outbox WHERE text LIKE 'I took%'"
EVENTS = "SELECT FROM event"
LINKS = "SELECT FROM secret_request"
REDACTED = "SELECT FROM inbox WHERE text LIKE '[a GitHub token was removed]%'"


def test_each_notice_is_told_once_whoever_is_killed(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(DEADLINE_S), await connect(address, Role.OWNER) as owner:
            kills = await kill_until_all_is_told(address, owner)
            assert kills >= 3, "the killing was over before it had begun"
            told = await (await owner.execute(NOTICES)).fetchall()
            sent = await (await owner.execute(SENT)).fetchall()
            assert len(told) == len(set(told)) == MESSAGES, "none lost, none twice"
            assert sorted(sent) == sorted(told)
            assert [await count(owner, query) for query in (REDACTED, LINKS)] == [MESSAGES, MESSAGES]

    asyncio.run(scenario())


async def kill_until_all_is_told(address: DatabaseAddress, owner: Connection) -> int:
    """Keep a worker and a person running, and kill one each time that some more has happened; return how many were."""
    kills = 0
    running = {role: await started(address, role) for role in ("worker", "person")}
    try:
        while running["person"].returncode is None and kills < KILLS:
            before = await count(owner, EVENTS)
            enough = before + random.randint(1, 30)
            while await count(owner, EVENTS) < enough and running["person"].returncode is None:
                await asyncio.sleep(0.001)
            role = random.choice([role for role in running if running[role].returncode is None])
            running[role].kill()
            await running[role].wait()
            running[role] = await started(address, role)
            kills += 1
        await running["person"].wait()
        while await count(owner, NOTICES) < MESSAGES:
            await asyncio.sleep(0.01)
    finally:
        for process in running.values():
            if process.returncode is None:
                process.kill()
                await process.wait()
    return kills


async def count(owner: Connection, query: LiteralString) -> int:
    ((found,),) = await (await owner.execute(f"SELECT count(*) FROM ({query}) q")).fetchall()
    return int(found)


async def started(address: DatabaseAddress, role: str) -> Process:
    arguments = (address.url, role, str(SENDERS), str(MESSAGES), KEY)
    return await create_subprocess_exec(sys.executable, "-c", PROGRAM, *arguments)
