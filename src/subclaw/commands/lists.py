"""`subclaw tenants` and `subclaw machines`: what there is, as a table or as JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC

from rich.console import Console

from subclaw.app.addresses import database_address
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.home import Home, require_running
from subclaw.machines.host_client import HostClient
from subclaw.store.database import Database, Role, open_database
from subclaw.store.tenants import tenant_names, tenant_summaries


async def list_tenants(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """List tenants, the newest first."""
    async with operator_database(settings) as operator:
        found = await tenant_summaries(operator, limit=limit)
    rows = [
        {
            "id": tenant.id,
            "name": tenant.name,
            "since": tenant.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ"),
            "plan": tenant.plan,
            "channels": ", ".join(tenant.channels),
            "messages": tenant.messages,
            "tokens": tenant.tokens,
            "site": tenant.site,
        }
        for tenant in found
    ]
    show(rows, console, as_json=as_json, none="There are no tenants yet: the first message makes one.")


async def list_machines(settings: Settings, console: Console, *, as_json: bool) -> None:
    """List the machines that are awake, and whose they are."""
    home = Home(settings.home)
    require_running(home)
    async with HostClient(home.host_socket) as host:
        found = await host.statuses()
    async with open_database(database_address(settings), Role.OPERATOR, size=1) as operator:
        names = await tenant_names(operator, [machine.tenant_id for machine in found])
    rows = [
        {
            "tenant": names.get(machine.tenant_id, "?"),
            "id": machine.tenant_id,
            "process": machine.process_id,
            "accelerator": machine.accelerator,
            "image": machine.image[:12],
            "awake_s": round(machine.awake_s),
            "idle_s": round(machine.idle_s),
        }
        for machine in found
    ]
    show(rows, console, as_json=as_json, none="All machines sleep.")


@asynccontextmanager
async def operator_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database in the operator's role for the life of the block. Errors: `Unavailable`, `Denied`."""
    if settings.database_url is None:
        require_running(Home(settings.home))
    async with open_database(database_address(settings), Role.OPERATOR, size=1) as operator:
        yield operator
