"""One wait for the disk, shared by all who committed before it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from tests.real.identity_scene import WEB

from subclaw.channels.registry import goes_out
from subclaw.core.channel import InboundMessage
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.event import ToolStarted
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.flush import Flush
from subclaw.turns.intake import StoreIntake

DEADLINE_S = 20
WRITTEN = "SELECT pg_current_wal_insert_lsn()"
ON_DISK = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"


def play(address: DatabaseAddress, steps: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP, flushes=False) as database:
            await steps(database)

    asyncio.run(main())


def message(text: str) -> InboundMessage:
    return InboundMessage(sender=WEB, provider_id=f"m {text}", text=text, received_at=datetime.now(UTC))


def test_what_was_committed_before_is_on_disk_when_the_wait_is_over(address: DatabaseAddress) -> None:
    async def steps(database: Database) -> None:
        flush = Flush(database)
        assert await database.rows("SHOW synchronous_commit") == [("off",)]
        intake = StoreIntake(database, sends=goes_out, public_url="http://localhost")
        for number in range(5):
            await intake.receive(message(f"hello {number}"))
            ((written,),) = await database.rows(WRITTEN)
            await flush.wait()
            assert await database.rows(ON_DISK, written) == [(True,)]

    play(address, steps)


def test_a_step_that_others_follow_is_on_disk_before_a_call_is_made(address: DatabaseAddress) -> None:
    async def steps(database: Database) -> None:
        intake = StoreIntake(database, sends=goes_out, public_url="http://localhost")
        await intake.receive(message("hello"))
        (lease,) = await conversations.claim(database, 1, 10)
        await conversations.open_turn(database, lease)
        flush = Flush(database)
        for number in range(5):
            await conversations.append(database, lease, [ToolStarted(call_id=f"call_{number}")], flush=flush)
            ((written,),) = await database.rows(WRITTEN)
            assert await database.rows(ON_DISK, written) == [(True,)]

    play(address, steps)


def test_many_share_one_wait(address: DatabaseAddress) -> None:
    async def steps(database: Database) -> None:
        flush = Flush(database)
        ((before,),) = await database.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        await asyncio.gather(*(flush.wait() for _ in range(200)))
        ((after,),) = await database.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        assert after - before <= 2, "each wait is a transaction"

    play(address, steps)


def test_who_shares_the_wait_of_one_that_is_cancelled_is_told_to_come_back(address: DatabaseAddress) -> None:
    async def steps(database: Database) -> None:
        flush = Flush(database)
        under_way, first, second = (asyncio.ensure_future(flush.wait()) for _ in range(3))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(Unavailable):
            await second
        await under_way
        await flush.wait()

    play(address, steps)


def test_nobody_hears_that_a_message_is_kept_or_refused_before_it_is(address: DatabaseAddress) -> None:
    async def steps(database: Database) -> None:
        waited: list[int] = []

        async def gone() -> None:
            waited.append(1)
            raise Unavailable("The disk is gone.")

        intake = StoreIntake(database, sends=goes_out, public_url="http://localhost", flushed=gone)
        for text in ("hello", "K7MQ-4XWP"):
            with pytest.raises(Unavailable):
                await intake.receive(message(text))
        assert waited == [1, 1]
        refused = StoreIntake(database, sends=goes_out, public_url="http://localhost", flushed=Flush(database).wait)
        with pytest.raises(Invalid):
            await refused.receive(message(" "))

    play(address, steps)
