"""Schedules: kept until they are due, and let happen in one transaction each time."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from psycopg.rows import TupleRow

from subclaw.core.errors import Conflict, Exhausted, NotFound
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.schedule import PENDING_LIMIT, Schedule, ScheduleMode
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database


class StoreSchedules:
    """See `core.schedule.Schedules`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set(self, caller: Caller, *, due_at: datetime, mode: ScheduleMode, text: str) -> Schedule:
        """See `core.schedule.Schedules.set`."""
        rows = await self._database.rows(
            "SELECT id, due_at, mode, text FROM set_schedule(%s, %s, %s, %s, %s, %s, %s)",
            caller.tenant_id,
            caller.conversation_id,
            caller.call_id,
            due_at,
            mode.value,
            text,
            PENDING_LIMIT,
        )
        reached(FaultPoint.SCHEDULE_SET)
        if not rows:
            raise Exhausted(f"There are {PENDING_LIMIT} schedules waiting already. Cancel some first.")
        return _schedule(rows[0])

    async def pending(self, tenant_id: TenantId) -> Sequence[Schedule]:
        """See `core.schedule.Schedules.pending`."""
        rows = await self._database.rows("SELECT id, due_at, mode, text FROM pending_schedules(%s)", tenant_id)
        return [_schedule(row) for row in rows]

    async def cancel(self, tenant_id: TenantId, id: int) -> None:
        """See `core.schedule.Schedules.cancel`."""
        ((state,),) = await self._database.rows("SELECT cancel_schedule(%s, %s)", tenant_id, id)
        if state is None:
            raise NotFound(f"There is no schedule {id}.")
        if state != "cancelled":
            raise Conflict(f"Schedule {id} has happened already.")


async def fire_due(database: Database, limit: int, read_in_place: Collection[str]) -> int:
    """Let up to `limit` due schedules happen; return how many did.

    `read_in_place` are the channels whose replies are read from the transcript; those of others go to the outbox.
    """
    ((count,),) = await database.rows("SELECT fire_due(%s, %s)", limit, sorted(read_in_place))
    if count:
        reached(FaultPoint.SCHEDULE_FIRED)
    return int(count)


async def next_due_s(database: Database) -> float | None:
    """Return the time until the next schedule is due, by the database's clock; None if none waits."""
    ((seconds,),) = await database.rows("SELECT next_due()")
    return None if seconds is None else float(seconds)


def _schedule(row: TupleRow) -> Schedule:
    id, due_at, mode, text = row
    return Schedule(id=id, due_at=due_at.astimezone(UTC), mode=ScheduleMode(mode), text=text)
