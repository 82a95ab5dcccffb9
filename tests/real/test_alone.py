"""Work that one process of all does at a time."""

import asyncio

import psycopg
import pytest

from subclaw.core.errors import Unavailable
from subclaw.store.alone import ALONE_LOCK, run_alone
from subclaw.store.database import DatabaseAddress, Role

DEADLINE_S = 20


def test_another_takes_up_what_the_first_ends(address: DatabaseAddress) -> None:
    begun: list[str] = []

    async def scenario() -> None:
        changed = asyncio.Event()

        async def work(name: str) -> None:
            begun.append(name)
            changed.set()
            await asyncio.Event().wait()

        async with asyncio.timeout(DEADLINE_S):
            first = asyncio.create_task(run_alone(address, "x", lambda: work("first")))
            await changed.wait()
            second = asyncio.create_task(run_alone(address, "x", lambda: work("second")))
            other = asyncio.create_task(run_alone(address, "y", lambda: work("other")))
            while len(begun) < 2:
                await asyncio.sleep(0.01)
            assert begun == ["first", "other"]
            first.cancel()
            while len(begun) < 3:
                await asyncio.sleep(0.01)
            assert begun[2] == "second"
            for task in (second, other):
                task.cancel()
            await asyncio.gather(first, second, other, return_exceptions=True)

    asyncio.run(scenario())


def test_work_ends_with_the_session_that_proves_it_alone(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with asyncio.timeout(DEADLINE_S):
            running = asyncio.create_task(run_alone(address, "x", work))
            await begun.wait()
            with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as owner:
                owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                    [ALONE_LOCK],
                )
            with pytest.raises(Unavailable):
                await running
            assert ended.is_set()

    asyncio.run(scenario())
