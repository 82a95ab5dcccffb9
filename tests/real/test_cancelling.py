"""Whoever is cancelled while waiting for a connection to the database ends, whenever that is: a stop must not hang."""

import asyncio

from subclaw.store.database import DatabaseAddress, Role, open_database

PASSES_OF_THE_LOOP = 12


def test_a_cancelled_statement_ends_even_if_its_connection_has_just_come_free(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with open_database(address, Role.APP, size=1) as database:
            for passes in range(PASSES_OF_THE_LOOP):
                first = asyncio.create_task(database.rows("SELECT pg_sleep(0.01)"))
                await asyncio.sleep(0)
                waiting = asyncio.create_task(database.rows("SELECT 1"))
                await first
                for _ in range(passes):
                    await asyncio.sleep(0)
                if waiting.cancel():
                    await asyncio.wait([waiting])
                    assert waiting.cancelled(), f"cancelled {passes} passes later, it went on"

    asyncio.run(scenario())
