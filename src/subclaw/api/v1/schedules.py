"""`/v1/schedules`: what is set for later in customers' sessions, by their agents or by the agents' owner."""

import uuid
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AwareDatetime, BaseModel, Field

from subclaw.api.v1.access import allowed, session_for
from subclaw.api.v1.inside import inside_of
from subclaw.api.v1.parts import CAN_FAIL, AgentId, Body, Cursor, Limit, Page, Text, number_of, page_of
from subclaw.api.v1.route import ApiRoute
from subclaw.core.api_key import Principal, Scope
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.recurrence import RULE_LIMIT_CHARACTERS, Recurrence, first_occurrence, parse_recurrence
from subclaw.core.schedule import TEXT_LIMIT_CHARACTERS, IfMissed, ScheduleMode
from subclaw.core.time_zone import NAME_LIMIT_CHARACTERS, read_zone, wall_of
from subclaw.core.tool import Caller
from subclaw.store.customers import conversation_of
from subclaw.store.owners import LAST_ID, owned_schedules
from subclaw.store.schedules import StoreSchedules


class ScheduleWanted(Body):
    """Something that is to happen later in a session."""

    session: str = Field(max_length=100, description="The session.")
    text: Text = Field(min_length=1, max_length=TEXT_LIMIT_CHARACTERS, description="What is said or acted on.")
    at: AwareDatetime = Field(description="When, with an offset.")
    mode: ScheduleMode = Field(
        default=ScheduleMode.MESSAGE,
        description="`message` says the text as it is, `agent_turn` wakes the agent to act on it.",
    )
    repeat: Text = Field(
        default="",
        max_length=RULE_LIMIT_CHARACTERS,
        description="An RRULE of iCalendar by which it comes again.",
    )
    time_zone: Text = Field(
        default="UTC", max_length=NAME_LIMIT_CHARACTERS, description="The IANA time zone that `repeat` goes by."
    )
    if_missed: IfMissed = Field(
        default=IfMissed.LATE,
        description="Whether what could not happen in time happens late and says so, or not.",
    )


class ScheduleSet(BaseModel):
    """Something that was set for later."""

    id: int = Field(description="The schedule.")
    due_at: datetime = Field(description="When it is due first.")


class Schedule(BaseModel):
    """Something that is set for later, for a customer. What it will say is not shown."""

    id: int = Field(description="The schedule.")
    agent: str = Field(description="The agent in whose session it is.")
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
        """List what is set for later, the newest first."""
        before = number_of(cursor, LAST_ID)
        operator = inside_of(request).operator
        found = await owned_schedules(operator, principal.agents, agent=agent or "", before=before, limit=limit)
        shown = [Schedule(**{name: getattr(one, name) for name in Schedule.model_fields}) for one in found]
        return page_of(found, shown, limit, str(found[-1].id) if found else "")

    _add_setting(router)
    return router


def _add_setting(router: APIRouter) -> None:
    @router.post("/schedules", status_code=201, summary="Set something for later")
    async def set_one(
        request: Request,
        wanted: ScheduleWanted,
        principal: Annotated[Principal, Depends(allowed(Scope.SCHEDULES_WRITE))],
    ) -> ScheduleSet:
        """Have something said to a customer later, or the agent wake and act, once or again and again."""
        inside, found = inside_of(request), await session_for(request, principal, wanted.session)
        conversation_id = await conversation_of(inside.database, found.tenant_id, found.session_id)
        call_id = f"{principal.key_id} {request.headers.get('idempotency-key') or uuid.uuid4().hex}"
        caller = Caller(tenant_id=found.tenant_id, conversation_id=conversation_id, call_id=call_id, turn_id=call_id)
        due_at, recurrence = _when(wanted, datetime.now(UTC))
        kept = await StoreSchedules(inside.database).set(
            caller,
            due_at=due_at,
            mode=wanted.mode,
            text=wanted.text,
            if_missed=wanted.if_missed,
            time_zone=wanted.time_zone,
            recurrence=recurrence,
        )
        return ScheduleSet(id=kept.id, due_at=kept.due_at)

    @router.delete("/schedules/{schedule}", status_code=204, summary="Cancel a schedule")
    async def cancel(
        request: Request,
        schedule: Annotated[int, Path(ge=1, le=LAST_ID, description="The schedule.")],
        principal: Annotated[Principal, Depends(allowed(Scope.SCHEDULES_WRITE))],
    ) -> None:
        """See to it that something does not happen, whoever set it."""
        inside, before = inside_of(request), min(schedule, LAST_ID - 1) + 1
        for found in await owned_schedules(inside.operator, principal.agents, before=before, limit=1):
            if found.id == schedule:
                return await StoreSchedules(inside.database).cancel(found.tenant_id, schedule)
        raise NotFound("There is no such schedule.")


def _when(wanted: ScheduleWanted, now: datetime) -> tuple[datetime, Recurrence | None]:
    """Return when something is due first, and what it comes again by. Errors: `Invalid`."""
    zone, at = read_zone(wanted.time_zone), wanted.at.astimezone(UTC)
    if not wanted.repeat:
        if at <= now:
            raise Invalid("That time is past.")
        return at, None
    begin = wall_of(at, zone)
    first = first_occurrence(parse_recurrence(wanted.repeat, begin=begin, time_zone=wanted.time_zone), now)
    return first.due_at, first.recurrence
