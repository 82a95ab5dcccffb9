"""Reminders: sleeps until the next schedule is due, and lets it happen.

Any number of replicas may keep time at once: the store lets each schedule happen in one transaction, in one of them.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from contextlib import suppress

from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.notify import Ears, Topic, hearing
from subclaw.store.schedules import fire_due, next_due_s, purge_schedules, tell_failed

log = logging.getLogger(__name__)

BATCH = 200
TICK_S = 5.0
"""Longest sleep: a schedule is found without a notification too."""
PAUSE_S = 0.05
"""Shortest sleep, when what is due is in somebody else's hands for a moment."""
PURGE_S = 600.0
"""How often what has long been over is removed."""


async def keep_time(
    database: Database, address: DatabaseAddress, *, read_in_place: Collection[str], ears: Ears | None = None
) -> None:
    """Let schedules happen as they come due, and tell of those that failed, until cancelled.

    `read_in_place` are the channels whose replies are read from the transcript; those of others go to the outbox.
    `ears` hear of `SCHEDULE`, if there are any yet. Errors: `Unavailable` if the database is lost.
    """
    awake = asyncio.Event()
    async with hearing(address, {Topic.SCHEDULE: lambda _: awake.set()}, ears), asyncio.TaskGroup() as group:
        group.create_task(_fire(database, read_in_place, awake))
        group.create_task(_look_after(database, read_in_place))


async def _fire(database: Database, read_in_place: Collection[str], awake: asyncio.Event) -> None:
    while True:
        awake.clear()
        next_s = await next_due_s(database)
        if next_s is not None and next_s <= 0 and await fire_due(database, BATCH, read_in_place):
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(_sleep_s(next_s)):
                await awake.wait()


def _sleep_s(next_s: float | None) -> float:
    return TICK_S if next_s is None else min(max(next_s, PAUSE_S), TICK_S)


async def _look_after(database: Database, read_in_place: Collection[str]) -> None:
    """Tell people of what failed, and remove what has long been over."""
    purge_at_s = time.monotonic()
    while True:
        while told := await tell_failed(database, BATCH, read_in_place):
            log.warning("%d schedules failed; their people are told", told)
        if time.monotonic() >= purge_at_s:
            purge_at_s = time.monotonic() + PURGE_S
            while await purge_schedules(database, BATCH) == BATCH:
                pass
        await asyncio.sleep(TICK_S)
