"""The tools of businesses' agents, as a worker has them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from subclaw.app.surroundings import Surroundings
from subclaw.business.outgoing import Requests
from subclaw.business.tools import AgentTools, sessions_in
from subclaw.store.tool_audit import StoreToolAudit
from subclaw.turns.approvals import utc_now


@asynccontextmanager
async def agent_tools(around: Surroundings) -> AsyncIterator[AgentTools]:
    """Give what makes the tools of agents' versions, for the block; its processes end with it.

    Of the state folder no tool's process sees anything.
    """
    made = AgentTools(
        requests=Requests(around.gateway, around.placeholders),
        session_of=sessions_in(around.database),
        audit=StoreToolAudit(around.database),
        clock=utc_now,
        hidden=[around.home.path],
    )
    try:
        yield made
    finally:
        await made.close()
