"""Schedules as the operator sees them: times, modes and states, no words."""

from dataclasses import dataclass
from datetime import datetime

from subclaw.core.tenant import TenantId
from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class ScheduleSummary:
    """One line of the operator's list. `state` is pending, fired, cancelled or missed.

    It is due next (or was last) at `due_at`, comes again by `repeat` if that is not empty, has happened so many `times`
    and was `missed` as often. `failure` says in a word what last went wrong, at `failed_at`; the person `is_told` of it
    or not yet.
    """

    id: int
    tenant_id: TenantId
    tenant_name: str
    mode: str
    state: str
    due_at: datetime
    time_zone: str
    repeat: str
    times: int
    missed: int
    failure: str
    failed_at: datetime | None
    is_told: bool


_SUMMARIES = """
    SELECT s.id, t.id, t.name, s.mode, s.state, s.due_at, s.time_zone, coalesce(s.repeat, ''), s.times, s.missed,
           coalesce(s.failure, ''), s.failed_at, s.told_at IS NOT NULL
    FROM schedule s JOIN tenant t ON t.id = s.tenant_id
    WHERE (%s::text IS NULL OR t.name = %s) AND s.id < %s ORDER BY s.id DESC LIMIT %s
"""

_FAILED = """
    SELECT s.id, t.id, t.name, s.mode, s.state, s.due_at, s.time_zone, coalesce(s.repeat, ''), s.times, s.missed,
           coalesce(s.failure, ''), s.failed_at, s.told_at IS NOT NULL
    FROM schedule s JOIN tenant t ON t.id = s.tenant_id
    WHERE (s.failed_at IS NOT NULL OR s.missed > 0) AND (%s::text IS NULL OR t.name = %s) AND s.id < %s
    ORDER BY s.id DESC LIMIT %s
"""


async def schedule_summaries(
    operator: Database, *, limit: int, before: int, tenant: str | None = None, only_failed: bool = False
) -> tuple[ScheduleSummary, ...]:
    """List schedules with ids below `before`, the newest first: all, or those that failed or were missed.

    The database is open in the operator's role.
    """
    query = _FAILED if only_failed else _SUMMARIES
    return tuple(
        ScheduleSummary(
            id=id,
            tenant_id=TenantId(tenant_id),
            tenant_name=name,
            mode=mode,
            state=state,
            due_at=due_at,
            time_zone=time_zone,
            repeat=repeat,
            times=times,
            missed=missed,
            failure=failure,
            failed_at=failed_at,
            is_told=is_told,
        )
        for (
            id,
            tenant_id,
            name,
            mode,
            state,
            due_at,
            time_zone,
            repeat,
            times,
            missed,
            failure,
            failed_at,
            is_told,
        ) in await operator.rows(query, tenant, tenant, before, limit)
    )
