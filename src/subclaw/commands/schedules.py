"""`subclaw schedules`: what agents set for later, when it is due, and what failed."""

from datetime import UTC, datetime

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.store.schedule_list import schedule_summaries
from subclaw.store.tenants import LAST_ID, tenant_number


async def list_schedules(
    settings: Settings, console: Console, *, limit: int, tenant: str | None, only_failed: bool, as_json: bool
) -> None:
    """List schedules, the newest first. Errors: `NotFound` if there is no such tenant."""
    async with operator_database(settings) as operator:
        if tenant is not None:
            await tenant_number(operator, tenant)
        found = await schedule_summaries(operator, limit=limit, before=LAST_ID, tenant=tenant, only_failed=only_failed)
    rows = [
        {
            "id": one.id,
            "tenant": one.tenant_name,
            "mode": one.mode,
            "state": one.state,
            "due": _minute(one.due_at),
            "repeat": one.repeat,
            "zone": one.time_zone,
            "times": one.times,
            "missed": one.missed or "",
            "failure": one.failure,
            "failed": _minute(one.failed_at) if one.failed_at else "",
            "told": one.is_told if one.failed_at else "",
        }
        for one in found
    ]
    none = "No schedule failed or was missed." if only_failed else "There are no schedules."
    show(rows, console, as_json=as_json, none=none)


def _minute(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
