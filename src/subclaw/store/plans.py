"""Plans, and which tenant is on which. The database is open in the operator's role."""

from psycopg.rows import TupleRow

from subclaw.core.errors import NotFound
from subclaw.core.plan import Plan, check_plan
from subclaw.store.database import Database

_SAVE = """
    INSERT INTO plan (name, idle_timeout_s, awake_s_per_day, disk_mb, sleeps_with_memory) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (name) DO UPDATE SET idle_timeout_s = excluded.idle_timeout_s,
        awake_s_per_day = excluded.awake_s_per_day, disk_mb = excluded.disk_mb,
        sleeps_with_memory = excluded.sleeps_with_memory
"""


async def all_plans(operator: Database) -> tuple[Plan, ...]:
    """List the plans by name. Errors: `Unavailable`."""
    rows = await operator.rows(
        "SELECT name, idle_timeout_s, awake_s_per_day, disk_mb, sleeps_with_memory FROM plan ORDER BY name"
    )
    return tuple(map(_plan, rows))


async def find_plan(operator: Database, name: str) -> Plan:
    """Return a plan. Errors: `NotFound`, `Unavailable`."""
    rows = await operator.rows(
        "SELECT name, idle_timeout_s, awake_s_per_day, disk_mb, sleeps_with_memory FROM plan WHERE name = %s", name
    )
    if not rows:
        raise NotFound(f"There is no plan {name}.")
    return _plan(rows[0])


async def save_plan(operator: Database, plan: Plan) -> None:
    """Keep a plan, in place of one of the same name. Errors: `Invalid`, `Unavailable`.

    Machines that are awake keep what they began with; the time left to stay awake follows at once.
    """
    check_plan(plan)
    await operator.rows(
        _SAVE, plan.name, plan.idle_timeout_s, plan.awake_s_per_day, plan.disk_mb, plan.sleeps_with_memory
    )


async def assign_plan(operator: Database, tenant_name: str, plan_name: str) -> None:
    """Put a tenant on a plan. Errors: `NotFound` for either, `Unavailable`."""
    plan = await find_plan(operator, plan_name)
    if not await operator.rows("UPDATE tenant SET plan = %s WHERE name = %s RETURNING id", plan.name, tenant_name):
        raise NotFound(f"There is no tenant {tenant_name}.")


def _plan(row: TupleRow) -> Plan:
    name, idle_timeout_s, awake_s_per_day, disk_mb, sleeps_with_memory = row
    return Plan(
        name=name,
        idle_timeout_s=idle_timeout_s,
        awake_s_per_day=awake_s_per_day,
        disk_mb=disk_mb,
        sleeps_with_memory=sleeps_with_memory,
    )
