"""The tools of businesses' agents, as a worker has them, and as a plan sees them."""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from subclaw.app.addresses import database_address
from subclaw.business.outgoing import Placeholders, Requests
from subclaw.business.tools import AgentTools, sessions_in
from subclaw.config import Settings
from subclaw.core.business import AgentPackage
from subclaw.core.tool import ToolDefinition
from subclaw.egress.control.client import gateway_client
from subclaw.home import Home
from subclaw.store.database import Database, Role, open_database
from subclaw.store.secrets import placeholders
from subclaw.store.tool_audit import StoreToolAudit


@asynccontextmanager
async def agent_tools(
    *,
    database: Database,
    gateway: httpx2.AsyncClient,
    placeholders: Placeholders,
    hidden: Sequence[Path],
    clock: Callable[[], datetime],
) -> AsyncIterator[AgentTools]:
    """Give what makes the tools of agents' versions, for the block; its processes end with it.

    `hidden` are folders that no tool's process sees. The database is open in the application's role.
    """
    made = AgentTools(
        requests=Requests(gateway, placeholders),
        session_of=sessions_in(database),
        audit=StoreToolAudit(database),
        clock=clock,
        hidden=hidden,
    )
    try:
        yield made
    finally:
        await made.close()


async def examined_tools(settings: Settings, package: AgentPackage) -> Sequence[ToolDefinition]:
    """Return what the tools of a folder are, by running its files in their closed room and asking its servers.

    Errors: `Invalid`, with file, line and remedy; `Unavailable` if a server of its does not answer.
    """
    home = Home(settings.home)
    async with (
        open_database(database_address(settings), Role.APP, size=1) as database,
        gateway_client(home.egress_socket) as gateway,
        agent_tools(
            database=database,
            gateway=gateway,
            placeholders=functools.partial(placeholders, database),
            hidden=[home.path],
            clock=lambda: datetime.now(UTC),
        ) as tools,
    ):
        return await tools.examine(package)
