"""`subclaw approvals`: what persons were asked to approve, and what came of it."""

from datetime import UTC, datetime

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.store.approvals import approval_summaries


async def list_approvals(settings: Settings, console: Console, *, limit: int, only_open: bool, as_json: bool) -> None:
    """List requests, the newest first."""
    async with operator_database(settings) as operator:
        found = await approval_summaries(operator, limit=limit, only_open=only_open)
    rows = [
        {
            "tenant": request.tenant_name,
            "tool": request.tool,
            "state": request.state,
            "requested": _minute(request.requested_at),
            "expires": _minute(request.expires_at),
            "closed": _minute(request.closed_at) if request.closed_at else "",
        }
        for request in found
    ]
    show(rows, console, as_json=as_json, none="There are no requests for approval.")


def _minute(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
