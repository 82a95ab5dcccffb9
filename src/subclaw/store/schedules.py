"""Schedules: kept until they are due, and let happen in one transaction each time."""

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from subclaw.core.errors import Conflict, Exhausted, NotFound
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.firing import Due, Firing, decide_firing, failure_words
from subclaw.core.quiet import UNASKED_AN_HOUR
from subclaw.core.recurrence import Recurrence
from subclaw.core.schedule import KEPT_FOR, PENDING_LIMIT, SET_AN_HOUR, IfMissed, Known, Listed, Schedule, ScheduleMode
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database

DECIDE_LIMIT_S = 0.25
"""How long a batch is thought about, while its conversations wait; what is left of it comes with the next."""

TROUBLED_LIMIT = 20
"""How many schedules a person's list has of those that were missed or failed."""

UNTOLD_WINDOW = 1_000
"""How many of the schedules that failed are looked at for whether their people can be told: the latest."""

_KNOWN = """
    SELECT k.time_zone, (k.already).id, (k.already).due_at, (k.already).mode, (k.already).text, (k.already).if_missed,
        (k.already).time_zone, (k.already).repeat, (k.already).wall_at, (k.already).left_count, (k.already).until_at,
        (k.already).state, (k.already).failure
    FROM known_schedule(%s, %s, %s) k
"""

_SET = """
    SELECT id, due_at, mode, text, if_missed, time_zone, repeat, wall_at, left_count, until_at, state, failure
    FROM set_schedule(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

_PENDING = """
    SELECT id, due_at, mode, text, if_missed, time_zone, repeat, wall_at, left_count, until_at, state, failure
    FROM pending_schedules(%s)
"""

_LIST = """
    SELECT l.time_zone, (l.listed).id, (l.listed).due_at, (l.listed).mode, (l.listed).text, (l.listed).if_missed,
        (l.listed).time_zone, (l.listed).repeat, (l.listed).wall_at, (l.listed).left_count, (l.listed).until_at,
        (l.listed).state, (l.listed).failure
    FROM list_schedules(%s, %s) l
"""


class StoreSchedules:
    """See `core.schedule.Schedules`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, caller: Caller) -> Known:
        """See `core.schedule.Schedules.known`."""
        ((time_zone, *already),) = await self._database.rows(
            _KNOWN, caller.tenant_id, caller.conversation_id, caller.call_id
        )
        return Known(time_zone=time_zone or "", already=None if already[0] is None else _schedule(already))

    async def remember_zone(self, tenant_id: TenantId, name: str) -> None:
        """See `core.schedule.Schedules.remember_zone`."""
        await self._database.rows("SELECT remember_time_zone(%s, %s)", tenant_id, name)

    async def set(
        self,
        caller: Caller,
        *,
        due_at: datetime,
        mode: ScheduleMode,
        text: str,
        if_missed: IfMissed = IfMissed.LATE,
        time_zone: str = "",
        recurrence: Recurrence | None = None,
    ) -> Schedule:
        """See `core.schedule.Schedules.set`."""
        await self._require_pace(caller.tenant_id)
        rows = await self._database.rows(
            _SET,
            caller.tenant_id,
            caller.conversation_id,
            caller.call_id,
            due_at,
            mode.value,
            text,
            PENDING_LIMIT,
            if_missed.value,
            recurrence.time_zone if recurrence else time_zone,
            *((recurrence.rule, recurrence.wall, recurrence.left, recurrence.until) if recurrence else (None,) * 4),
        )
        reached(FaultPoint.SCHEDULE_SET)
        if not rows:
            raise Exhausted(f"There are {PENDING_LIMIT} schedules waiting already. Cancel some first.")
        return _schedule(rows[0])

    async def _require_pace(self, tenant_id: TenantId) -> None:
        """Raise `Exhausted`, in words for the agent, if it goes too fast."""
        ((lately, wait_s),) = await self._database.rows(
            "SELECT schedules_set_lately(%s), unasked_wait_s(%s, %s)", tenant_id, tenant_id, UNASKED_AN_HOUR
        )
        if lately >= SET_AN_HOUR:
            raise Exhausted(f"{SET_AN_HOUR} schedules were set within an hour, and that is the most. Set fewer.")
        if wait_s > 0:
            raise Exhausted(
                f"{UNASKED_AN_HOUR} messages in an hour that nobody asked for are the most; more are held up already."
                f" There is room again in {max(1, round(wait_s / 60))} minutes. Have reminders come less often, and say"
                " more at once."
            )

    async def pending(self, tenant_id: TenantId) -> Sequence[Schedule]:
        """See `core.schedule.Schedules.pending`."""
        return [_schedule(row) for row in await self._database.rows(_PENDING, tenant_id)]

    async def listed(self, tenant_id: TenantId) -> Listed:
        """See `core.schedule.Schedules.listed`."""
        rows = await self._database.rows(_LIST, tenant_id, TROUBLED_LIMIT)
        return Listed(
            time_zone=rows[0][0] or "", schedules=tuple(_schedule(row[1:]) for row in rows if row[1] is not None)
        )

    async def cancel(self, tenant_id: TenantId, id: int) -> None:
        """See `core.schedule.Schedules.cancel`."""
        ((state,),) = await self._database.rows("SELECT cancel_schedule(%s, %s)", tenant_id, id)
        if state is None:
            raise NotFound(f"There is no schedule {id}.")
        if state != "cancelled":
            raise Conflict(f"Schedule {id} {'was missed' if state == 'missed' else 'has happened'} already.")


async def fire_due(database: Database, limit: int, read_in_place: Collection[str]) -> int:
    """Let up to `limit` due schedules happen, and set their next times; return how many were dealt with.

    `read_in_place` are the channels whose replies are read from the transcript; those of others go to the outbox.
    """
    async with database.transaction() as connection:
        rows = await (await connection.execute("SELECT * FROM claim_due(%s)", [limit])).fetchall()
        if not rows:
            return 0
        reached(FaultPoint.SCHEDULE_CLAIMED)
        decided = await asyncio.to_thread(_decide, rows)
        firings = Jsonb([_firing_row(firing) for firing in decided])
        cursor = await connection.execute("SELECT fire_claimed(%s, %s)", [firings, sorted(read_in_place)])
        ((count,),) = await cursor.fetchall()
    reached(FaultPoint.SCHEDULE_FIRED)
    return int(count)


async def tell_failed(database: Database, limit: int, read_in_place: Collection[str]) -> int:
    """Tell the people of up to `limit` schedules that failed, where they can be told; return how many were.

    `read_in_place` is as for `fire_due`.
    """
    async with database.transaction() as connection:
        cursor = await connection.execute("SELECT * FROM claim_untold(%s, %s)", [limit, UNTOLD_WINDOW])
        rows = await cursor.fetchall()
        if rows:
            words = [failure_words(due_at, zone, failure, now) for _, _, due_at, zone, failure, now in rows]
            places = [row[0] for row in rows], [row[1] for row in rows]
            await connection.execute("SELECT tell_claimed(%s, %s, %s, %s)", [*places, words, sorted(read_in_place)])
    return len(rows)


async def purge_schedules(database: Database, limit: int) -> int:
    """Remove up to `limit` schedules that have been over for `core.schedule.KEPT_FOR`; return how many were."""
    ((count,),) = await database.rows("SELECT purge_schedules(%s, %s)", KEPT_FOR, limit)
    return int(count)


async def next_due_s(database: Database) -> float | None:
    """Return the time until the next schedule is due, by the database's clock; None if none waits."""
    ((seconds,),) = await database.rows("SELECT next_due()")
    return None if seconds is None else float(seconds)


def _decide(rows: Sequence[TupleRow]) -> Sequence[Firing]:
    """Decide on the first of these, and on others as long as there is time."""
    until_s = time.monotonic() + DECIDE_LIMIT_S
    decided: list[Firing] = []
    for id, due_at, if_missed, time_zone, repeat, wall, left, until, now in rows:
        due = Due(
            id=id,
            due_at=due_at,
            if_missed=IfMissed(if_missed),
            time_zone=time_zone,
            recurrence=_recurrence(time_zone, repeat, wall, left, until),
        )
        decided.append(decide_firing(due, now))
        if time.monotonic() > until_s:
            break
    return decided


def _firing_row(firing: Firing) -> dict[str, Any]:
    following = firing.next
    return {
        "id": firing.id,
        "happens": firing.happens,
        "preface": firing.preface,
        "next_due_at": following.due_at.isoformat() if following else None,
        "wall_at": following.recurrence.wall.isoformat() if following else None,
        "left_count": following.recurrence.left if following else None,
        "missed": firing.missed,
        "failure": firing.failure,
    }


def _schedule(row: Iterable[Any]) -> Schedule:
    id, due_at, mode, text, if_missed, time_zone, repeat, wall, left, until, state, failure = row
    return Schedule(
        id=id,
        due_at=due_at.astimezone(UTC),
        mode=ScheduleMode(mode),
        text=text,
        if_missed=IfMissed(if_missed),
        time_zone=time_zone,
        recurrence=_recurrence(time_zone, repeat, wall, left, until),
        missed=state == "missed",
        failure=failure or "",
    )


def _recurrence(
    time_zone: str, repeat: str | None, wall: datetime | None, left: int | None, until: datetime | None
) -> Recurrence | None:
    if repeat is None or wall is None:
        return None
    until = until.astimezone(UTC) if until else None
    return Recurrence(rule=repeat, time_zone=time_zone, wall=wall, left=left, until=until)
