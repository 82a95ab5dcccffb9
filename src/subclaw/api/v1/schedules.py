"""`/v1/schedules`: what agents have set for later."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from subclaw.api.v1.access import allowed
from subclaw.api.v1.inside import inside_of
from subclaw.api.v1.parts import CAN_FAIL, AgentId, Cursor, Limit, Page, number_of, page_of
from subclaw.api.v1.route import ApiRoute
from subclaw.core.api_key import Principal, Scope
from subclaw.store.owners import LAST_ID, owned_schedules


class Schedule(BaseModel):
    """Something that an agent has set for later, for a customer. What it will say is the customer's alone."""

    id: int = Field(description="The schedule.")
    agent: str = Field(description="The agent that set it.")
    customer: str = Field(description="The customer for whom.")
    mode: str = Field(description="`message` says a text, `agent_turn` wakes the agent.")
    state: str = Field(description="pending, fired, cancelled or missed.")
    due_at: datetime = Field(description="When it is due next, or was last.")
    time_zone: str = Field(description="The time zone that it goes by.")
    repeat: str = Field(description="By which rule it comes again; empty if it does not.")
    times: int = Field(description="How often it has happened.")
    missed: int = Field(description="How often it was missed.")


def schedules_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ApiRoute, responses=CAN_FAIL, tags=["schedules"])

    @router.get("/schedules", summary="List schedules")
    async def schedules(
        request: Request,
        principal: Annotated[Principal, Depends(allowed(Scope.SCHEDULES_READ))],
        agent: Annotated[AgentId | None, Query(description="Only this agent's.")] = None,
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Page[Schedule]:
        """List what agents have set for later, the newest first."""
        before = number_of(cursor, LAST_ID)
        operator = inside_of(request).operator
        found = await owned_schedules(operator, principal.agents, agent=agent or "", before=before, limit=limit)
        shown = [Schedule(**{name: getattr(one, name) for name in Schedule.model_fields}) for one in found]
        return page_of(found, shown, limit, str(found[-1].id) if found else "")

    return router
