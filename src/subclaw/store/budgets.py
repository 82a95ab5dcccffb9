"""Budgets in the database: room for a call or a reply, and for the operator the limits and what is used of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from psycopg.rows import TupleRow

from subclaw.core.budget import EVERYBODY, Budget, Estimate, Kind, Level, Period, Reached, Room, check_budget
from subclaw.core.errors import NotFound
from subclaw.core.tenant import TenantId
from subclaw.core.turn import Lease
from subclaw.store.database import Database
from subclaw.store.tenants import tenant_number

_SET = """
    INSERT INTO budget (level, subject, kind, period, tenant_id, soft, hard)
    VALUES (%s::budget_level, %s, %s::budget_kind, %s::budget_period, %s, %s, %s)
    ON CONFLICT (level, subject, kind, period) DO UPDATE SET soft = excluded.soft, hard = excluded.hard
"""

_REMOVE = """
    DELETE FROM budget WHERE (level, subject, kind, period) = (%s::budget_level, %s, %s::budget_kind, %s::budget_period)
    RETURNING level
"""

_ALL = """
    SELECT b.level::text, coalesce(t.name, b.subject), b.kind::text, b.period::text, b.soft, b.hard,
           coalesce(c.used, 0)::bigint, coalesce(c.reserved, 0)::bigint
    FROM budget b LEFT JOIN tenant t ON b.level = 'tenant' AND t.id = b.tenant_id
        LEFT JOIN LATERAL (
            SELECT sum(used) FILTER (WHERE since >= period_start(b.period, now())) AS used, sum(reserved) AS reserved
            FROM budget_counter c
            WHERE (c.level, c.kind, c.period) = (b.level, b.kind, b.period) AND b.subject IN ('*', c.subject)
                AND (b.subject <> '*' OR NOT EXISTS (
                    SELECT FROM budget own WHERE (own.level, own.subject, own.kind, own.period)
                        = (c.level, c.subject, c.kind, c.period) AND own.subject <> '*'))
            GROUP BY c.subject ORDER BY 1 DESC NULLS LAST LIMIT 1
        ) c ON true
    ORDER BY b.level DESC, b.subject, b.kind, b.period LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class BudgetUse:
    """A budget, what is used of it in the running period, and what is reserved.

    Of one that is for each, the figures are those of whoever has used most. The subject of a tenant's is its name.
    """

    budget: Budget
    used: int
    reserved: int


async def reserve(database: Database, lease: Lease, call: Estimate, *, now: datetime | None = None) -> Room:
    """Reserve what a model call may use, in place of what its conversation had reserved before.

    If a budget has no room for it nothing is reserved. The model's reply, or the end of the turn, gives back what was.
    `now` is the clock's time, unless it is said. Errors: `LeaseLost`, `Unavailable`.
    """
    rows = await database.rows(
        "SELECT * FROM reserve(%s, %s, %s, %s, %s, %s, %s::timestamptz)",
        lease.tenant_id,
        lease.conversation_id,
        lease.epoch,
        call.microusd,
        call.cheaper_microusd,
        call.tokens,
        now,
    )
    for over_hard, over_soft, warn, *reached in rows:
        return room_of(over_hard, over_soft, warn, reached)
    return Room()


def room_of(over_hard: bool, over_soft: bool, warn: bool, reached: Sequence[object]) -> Room:
    """Return what the budgets said to a call; `reached` are the columns of the worst one."""
    return Room(
        hard=_reached(reached) if over_hard else None,
        soft=_reached(reached) if over_soft and not over_hard else None,
        warn=warn and not over_hard,
    )


async def charge_segments(
    database: Database, tenant_id: TenantId, outbox_id: int, segments: int, *, now: datetime | None = None
) -> Reached | None:
    """Charge the segments of a reply that is about to be sent; return the budget that has no room for them, if any.

    Said again for the same reply it is not charged again. Errors: `Unavailable`.
    """
    rows = await database.rows(
        "SELECT * FROM charge_segments(%s, %s, %s, %s::timestamptz)", tenant_id, outbox_id, segments, now
    )
    return _reached(rows[0]) if rows else None


async def machine_over_budget(host: Database, tenant_id: TenantId, *, now: datetime | None = None) -> Reached | None:
    """Return the budget that has no second left for a tenant's machine, if any. The database is open as the host."""
    rows = await host.rows("SELECT * FROM machine_over_budget(%s, %s::timestamptz)", tenant_id, now)
    return _reached(rows[0]) if rows else None


async def set_budget(operator: Database, budget: Budget) -> None:
    """Keep a budget, in place of one of the same subject, kind and period. A new one counts from now on.

    Errors: `Invalid`; `NotFound` for a tenant or conversation that is not there; `Unavailable`.
    """
    check_budget(budget)
    await operator.rows(_SET, *_key(budget), await _tenant_of(operator, budget), budget.soft, budget.hard)


async def remove_budget(operator: Database, budget: Budget) -> None:
    """Remove a budget, whatever its limits. Errors: `NotFound`, `Unavailable`."""
    if not await operator.rows(_REMOVE, *_key(budget)):
        raise NotFound("There is no such budget.")


async def all_budgets(operator: Database, *, limit: int) -> tuple[BudgetUse, ...]:
    """List the budgets, the operator's first, and what is used of them. Errors: `Unavailable`."""
    return tuple(map(_use, await operator.rows(_ALL, limit)))


async def with_number(operator: Database, budget: Budget) -> Budget:
    """Return a budget whose subject, a tenant's name, is its number. Errors: `NotFound`, `Unavailable`."""
    if budget.level is not Level.TENANT or budget.subject == EVERYBODY:
        return budget
    return replace(budget, subject=str(await tenant_number(operator, budget.subject)))


async def _tenant_of(operator: Database, budget: Budget) -> int | None:
    if budget.subject == EVERYBODY or budget.level not in (Level.TENANT, Level.CONVERSATION):
        return None
    number = int(budget.subject)
    if budget.level is Level.TENANT:
        rows = await operator.rows("SELECT id FROM tenant WHERE id = %s", number)
    else:
        rows = await operator.rows("SELECT tenant_id FROM conversation WHERE id = %s", number)
    if not rows:
        raise NotFound(f"There is no {budget.level} {number}.")
    return int(rows[0][0])


def _key(budget: Budget) -> tuple[str, str, str, str]:
    return budget.level.value, budget.subject, budget.kind.value, budget.period.value


def _reached(row: Sequence[object]) -> Reached:
    level, kind, period, until = row
    assert until is None or isinstance(until, datetime)
    return Reached(level=Level(str(level)), kind=Kind(str(kind)), period=Period(str(period)), until=until)


def _use(row: TupleRow) -> BudgetUse:
    level, subject, kind, period, soft, hard, used, reserved = row
    budget = Budget(level=Level(level), subject=subject, kind=Kind(kind), period=Period(period), soft=soft, hard=hard)
    return BudgetUse(budget=budget, used=used, reserved=reserved)
