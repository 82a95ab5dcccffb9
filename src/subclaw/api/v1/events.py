"""`/v1/sessions/{session}/events`: what is said in a session, and following it."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from subclaw.api.v1.access import allowed, session_for
from subclaw.api.v1.inside import Inside, inside_of
from subclaw.api.v1.live import Delta, Reset, follow_aloud, follow_quietly
from subclaw.api.v1.parts import CAN_FAIL, PAGE_LIMIT, Body, Text
from subclaw.api.v1.problems import Limited
from subclaw.api.v1.route import ApiRoute
from subclaw.api.v1.shown import Event, message_name, shown_event
from subclaw.api.v1.streams import a_place, encode, event_stream, hello, require_place, with_pings
from subclaw.core.api_key import Principal, Scope
from subclaw.core.business import SESSION_CHANNEL, CustomerSession
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.intake_limits import PAUSE_S
from subclaw.store.session_events import SessionEvent, Working, place_of_message, read_session

LARGEST_SEQ = 2**63 - 1
OwnId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="Your own id: the same is taken once.")]


class Said(Body):
    """A message of the customer's."""

    text: Text = Field(min_length=1, max_length=200_000, description="What the customer says.")
    id: OwnId | None = Field(default=None, description="Your own id of the message: the same id is taken once.")
    aloud: bool = Field(default=False, description="Whether you open a stream for the answer's words right after this.")


class Taken(BaseModel):
    """A message that was taken. The answer comes as events."""

    session: str = Field(description="The session.")
    message: str = Field(description="The message's id: yours, or one that was made.")
    duplicate: bool = Field(description="Whether it was taken before, and nothing happened now.")
    after: int = Field(description="After which event it comes: what to follow the answer from.")


class Events(BaseModel):
    """What happened in a session."""

    data: list[Event] = Field(description="Events, the oldest first.")
    working: bool = Field(description="Whether the agent is at work.")
    after: int = Field(description="Where to go on: give it as `after`.")


def events_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ApiRoute, responses=CAN_FAIL, tags=["sessions"])

    @router.post("/sessions/{session}/events", status_code=202, summary="Say something")
    async def say(
        request: Request,
        session: str,
        said: Said,
        principal: Annotated[Principal, Depends(allowed(Scope.SESSIONS_WRITE, by_token=True))],
    ) -> Taken:
        """Say something as the customer. It is stored when this answers, and the agent is awake.

        A session token may be used here.
        """
        found = await session_for(request, principal, session)
        if said.aloud:
            await inside_of(request).live.expect(session)
        return await say_in(inside_of(request), found, said.text, said.id or uuid.uuid4().hex)

    _add_reading(router)
    return router


def _add_reading(router: APIRouter) -> None:
    stream = {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events."}

    @router.get(
        "/sessions/{session}/events",
        summary="Read or follow what happens",
        responses={200: stream},
        response_model=Events,
        response_model_exclude_none=True,
    )
    async def events(
        request: Request,
        session: str,
        principal: Annotated[Principal, Depends(allowed(Scope.SESSIONS_READ, by_token=True))],
        after: Annotated[int, Query(ge=0, le=LARGEST_SEQ, description="Only what came after this event.")] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="How many at most; not for a stream.")] = 50,
        deltas: Annotated[bool, Query(description="Whether a stream has a reply's words while it is said.")] = True,
    ) -> Events | Response:
        """Return what happened, or follow it: as server-sent events with `Accept: text/event-stream`.

        A stream goes on after `Last-Event-ID`, or after `after`; it begins with what was before, and an event `working`
        tells whether the agent is at work. It ends after a quarter of an hour at most; come again then. A session token
        may be used here.

        While the agent says a reply, events `reply.delta` have its words as they come (`turn` is the event with which
        the turn began, `text` comes after what was said before), and `reply.reset` takes back what they said in that
        turn: `why` is `tools` if the agent uses its tools first, else `again`. They have no id, and do not come again:
        a stream that begins in the middle has what was said so far in one, or none. What counts is the `reply`.
        """
        found = await session_for(request, principal, session)
        if "text/event-stream" in request.headers.get("accept", ""):
            require_place(request.app)
            if deltas:
                await inside_of(request).live.expect(session)
            return event_stream(_stream(request, found, principal, _resumed(request, after), deltas=deltas))
        working, read = await read_session(inside_of(request).database, session, after=after, limit=limit)
        data = [shown_event(event, principal) for event in read]
        return Events(data=data, working=working, after=data[-1].id if data else after)


async def say_in(inside: Inside, session: CustomerSession, text: str, own_id: str) -> Taken:
    """Have a customer say something.

    Errors: `Invalid`, `Limited` if nothing is taken in this session now, `Unavailable`.
    """
    name = message_name(session.session_id, own_id)
    sender = Address(channel=SESSION_CHANNEL, address=session.session_id)
    message = InboundMessage(sender=sender, provider_id=name, text=text, received_at=datetime.now(UTC))
    receipt = await inside.intake.receive(message)
    place = await place_of_message(inside.database, session.session_id, name)
    if place is None:
        raise Limited("Nothing more is taken in this session just now: it was too much at once.", retry_after_s=PAUSE_S)
    return Taken(session=session.session_id, message=own_id, duplicate=receipt.duplicate, after=place)


async def _stream(
    request: Request, session: CustomerSession, principal: Principal, after: int, *, deltas: bool
) -> AsyncIterator[str]:
    inside = inside_of(request)
    async with a_place(request.app):
        yield hello()
        items = (follow_aloud if deltas else follow_quietly)(inside, session.session_id, after)
        async with aclosing(with_pings(items)) as pieces:
            async for item in pieces:
                match item:
                    case None:
                        yield ": still here\n\n"
                    case Working(on=on):
                        yield encode(json.dumps({"on": on}), event="working")
                    case Delta(turn=turn, text=text):
                        yield encode(json.dumps({"turn": turn, "text": text}), event="reply.delta")
                    case Reset(turn=turn, after_calls=after_calls):
                        why = "tools" if after_calls else "again"
                        yield encode(json.dumps({"turn": turn, "why": why}), event="reply.reset")
                    case SessionEvent():
                        event = shown_event(item, principal)
                        yield encode(event.model_dump_json(exclude_none=True), event=event.type, id=event.id)


def _resumed(request: Request, after: int) -> int:
    """Return the event after which a stream goes on; what is no number does not count."""
    text = request.headers.get("last-event-id", "")
    return min(int(text), LARGEST_SEQ) if text.isascii() and text.isdecimal() and len(text) < 20 else after
