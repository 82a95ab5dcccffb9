"""`/v1/approvals`: calls that wait for somebody's yes, and giving it."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from subclaw.api.v1.access import allowed
from subclaw.api.v1.inside import inside_of
from subclaw.api.v1.parts import CAN_FAIL, AgentId, Body, Cursor, Limit, Page, number_of, page_of
from subclaw.api.v1.route import ApiRoute
from subclaw.core.api_key import Principal, Scope
from subclaw.core.business import SESSION_CHANNEL
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.errors import Conflict, NotFound
from subclaw.store.owners import LAST_ID, OwnedApproval, approval_request, owned_approvals

State = Literal["open", "approved", "declined", "expired", "void"]
DECISION_PREFIX = "approval:"
"""What the names of messages begin with by which the API decides: they are no words of the customer's."""
ApprovalId = Annotated[int, Path(ge=1, le=LAST_ID, description="The approval.")]


class Approval(BaseModel):
    """A call that was not performed, since somebody has to say yes first."""

    id: int = Field(description="The approval.")
    agent: str = Field(description="The agent that wants it.")
    customer: str = Field(description="The customer in whose session.")
    session: str = Field(description="The session.")
    approval: str = Field(description="What the session's events call it.")
    tool: str = Field(description="The tool.")
    state: State = Field(description="What became of it.")
    requested_at: datetime = Field(description="Since when it waits.")
    expires_at: datetime = Field(description="Until when it can be decided.")
    closed_at: datetime | None = Field(description="When it was decided, or could be no more.")
    arguments: str | None = Field(default=None, description="The call's arguments, as JSON. Not in lists.")


class Decision(Body):
    """Yes or no."""

    approve: bool = Field(description="Whether the call is to be performed.")


class Decided(BaseModel):
    """A decision that was taken. What comes of it, the session's events tell."""

    id: int = Field(description="The approval.")
    approve: bool = Field(description="What was decided.")


def approvals_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ApiRoute, responses=CAN_FAIL, tags=["approvals"])

    @router.get("/approvals", summary="List approvals")
    async def approvals(
        request: Request,
        principal: Annotated[Principal, Depends(allowed(Scope.APPROVALS_READ))],
        agent: Annotated[AgentId | None, Query(description="Only this agent's.")] = None,
        state: Annotated[State | None, Query(description="Only those in this state.")] = None,
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Page[Approval]:
        """List what waits for an approval, or did, the newest first."""
        last = number_of(cursor, LAST_ID)
        found = await owned_approvals(
            inside_of(request).operator,
            principal.agents,
            agent=agent or "",
            state=state or "",
            ids=(0, last - 1),
            limit=limit,
        )
        return page_of(found, list(map(_shown, found)), limit, str(found[-1].id) if found else "")

    _add_one(router)
    return router


def _add_one(router: APIRouter) -> None:
    @router.get("/approvals/{approval}", summary="Get an approval")
    async def one(
        request: Request,
        approval: ApprovalId,
        principal: Annotated[Principal, Depends(allowed(Scope.APPROVALS_READ))],
    ) -> Approval:
        """Get one, with the arguments of the call: these, and no others, are what is approved."""
        found = await _found(request, principal, approval)
        return _shown(found).model_copy(update={"arguments": (await _request(request, found))["call"]["arguments"]})

    @router.post("/approvals/{approval}", status_code=202, summary="Decide")
    async def decide(
        request: Request,
        approval: ApprovalId,
        decision: Decision,
        principal: Annotated[Principal, Depends(allowed(Scope.APPROVALS_WRITE))],
    ) -> Decided:
        """Say yes or no. The call is performed once, at the most."""
        found = await _found(request, principal, approval)
        request.state.tenant_id = found.tenant_id
        if found.state != "open" or found.expires_at <= datetime.now(UTC):
            raise Conflict(f"This can be decided no more: it is {found.state}.")
        code = (await _request(request, found))["code"]
        await inside_of(request).intake.receive(
            InboundMessage(
                sender=Address(channel=SESSION_CHANNEL, address=found.session),
                provider_id=f"{DECISION_PREFIX}{found.id}:{principal.key_id}",
                text=f"{'OK' if decision.approve else 'NO'} {code}",
                received_at=datetime.now(UTC),
            )
        )
        return Decided(id=found.id, approve=decision.approve)


async def _found(request: Request, principal: Principal, id: int) -> OwnedApproval:
    for found in await owned_approvals(inside_of(request).operator, principal.agents, ids=(id, id), limit=1):
        return found
    raise NotFound("There is no such approval.")


async def _request(request: Request, found: OwnedApproval) -> dict[str, Any]:
    body = dict(await approval_request(inside_of(request).database, found.tenant_id, found.id))
    if not body:
        raise NotFound("There is no such approval.")
    return body


def _shown(found: OwnedApproval) -> Approval:
    fields = {name: getattr(found, name) for name in Approval.model_fields if hasattr(found, name)}
    return Approval(approval=found.approval_id, **fields)
