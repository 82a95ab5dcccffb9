"""Work that one process of all does at a time, and another takes up when that ends or dies."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from subclaw.store.database import DatabaseAddress, Role, connect, translated
from subclaw.store.notify import until_lost

ALONE_LOCK = 0x5C1C
"""Class of the advisory locks that are held by whoever is the one."""


async def run_alone(address: DatabaseAddress, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Wait until no other process runs the work of that name, and run it; it ends when the database is lost.

    Errors: `Unavailable`, if the database is lost; what the work raises.
    """
    async with await connect(address, Role.APP) as session:
        with translated():
            await session.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [ALONE_LOCK, name])
        working = asyncio.ensure_future(work())
        watching = asyncio.ensure_future(until_lost(session))
        try:
            await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
            await (working if working.done() else watching)
        finally:
            for one in (working, watching):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await one
