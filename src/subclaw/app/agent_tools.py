"""The tools of businesses' agents, as a worker has them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import httpx2

from subclaw.business.outgoing import Placeholders, Requests
from subclaw.business.tools import AgentTools, sessions_in
from subclaw.store.database import Database
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
