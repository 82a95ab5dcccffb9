"""`/v1/responses` and `/v1/chat/completions`: by these, programs that know OpenAI's API talk to agents.

The agent's instructions, tools and model are its own. A stream brings the words of its answer as they are said.
"""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from subclaw.api.v1 import compatible_shapes as shapes
from subclaw.api.v1.access import allowed, require_agent, session_for
from subclaw.api.v1.answering import Answered, Piece, answers, whole_answer
from subclaw.api.v1.compatible_shapes import ChatAsked, ResponseAsked
from subclaw.api.v1.events import Taken, say_in
from subclaw.api.v1.inside import inside_of
from subclaw.api.v1.parts import CAN_FAIL
from subclaw.api.v1.route import CompatibleRoute
from subclaw.api.v1.streams import encode, event_stream, require_place
from subclaw.core.api_key import Principal, Scope
from subclaw.core.business import CustomerSession
from subclaw.core.errors import Invalid, NotFound, SubclawError
from subclaw.store.customers import open_session
from subclaw.store.owners import customers, newest_session, owned_agents

_ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {"description": "As OpenAI's API has it.", "content": {"application/json": {}, "text/event-stream": {}}}
}
Writing = Annotated[Principal, Depends(allowed(Scope.SESSIONS_WRITE))]


def compatible_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=CompatibleRoute, responses=CAN_FAIL | _ANSWERED, tags=["openai"])
    _add_models(router)
    _add_chat(router)
    _add_responses(router)
    return router


def _add_models(router: APIRouter) -> None:
    @router.get("/models", summary="List agents as models")
    async def models(
        request: Request, principal: Annotated[Principal, Depends(allowed(Scope.AGENTS_READ))]
    ) -> JSONResponse:
        """List agents, as OpenAI's API lists models."""
        found = await owned_agents(inside_of(request).operator, principal.agents, after="", limit=1_000)
        data = [
            {
                "id": shapes.MODEL_PREFIX + agent.id,
                "object": "model",
                "created": int(agent.changed_at.timestamp()),
                "owned_by": "subclaw",
            }
            for agent in found
        ]
        return JSONResponse({"object": "list", "data": data})


def _add_chat(router: APIRouter) -> None:
    @router.post("/chat/completions", summary="Answer as a chat completion")
    async def chat(request: Request, asked: ChatAsked, principal: Writing) -> Response:
        """Have an agent answer the last message. `user` (or `metadata.customer`) says which customer says it.

        Messages that hold an answer go on in the customer's newest session, or in `metadata.session`; others open one.
        The agent goes by what was said in the session, not by the messages before the last.
        """
        _require_sense(request, asked)
        session = await _chat_session(request, principal, asked)
        taken = await _said(request, session, asked)
        if asked.stream:
            return event_stream(_chat_stream(asked, answers(request.app, session, taken, aloud=True)))
        said, end = await whole_answer(request.app, session, taken)
        return JSONResponse(shapes.chat_completion(asked.model, session, said, end))


async def _chat_session(request: Request, principal: Principal, asked: ChatAsked) -> CustomerSession:
    if named := (asked.metadata or {}).get("session"):
        return await _named_session(request, principal, asked, named)
    agent, customer = asked.agent(), asked.customer()
    require_agent(principal, agent)
    inside = inside_of(request)
    if asked.goes_on():
        for known in await customers(inside.operator, [agent], customer=customer, limit=1):
            if newest := await newest_session(inside.database, known.tenant_id):
                return await _named_session(request, principal, asked, newest)
    return await _new_session(request, agent, customer, asked.metadata)


def _add_responses(router: APIRouter) -> None:
    @router.post("/responses", summary="Answer as a response")
    async def respond(request: Request, asked: ResponseAsked, principal: Writing) -> Response:
        """Have an agent answer. It goes on after `previous_response_id`, or in `conversation` (a session's id).

        Else a session is opened: `user` (or `metadata.customer`) says whose.
        """
        _require_sense(request, asked)
        if (asked.model_extra or {}).get("instructions"):
            raise Invalid("An agent has its own instructions, and takes no others.")
        if named := asked.session():
            session = await _named_session(request, principal, asked, named)
        else:
            require_agent(principal, asked.agent())
            session = await _new_session(request, asked.agent(), asked.customer(), asked.metadata)
        taken = await _said(request, session, asked)
        if asked.stream:
            return event_stream(_response_stream(asked, session, answers(request.app, session, taken, aloud=True)))
        said, end = await whole_answer(request.app, session, taken)
        return JSONResponse(shapes.response(asked, shapes.response_id(session, end.seq), text=said, end=end))


async def _named_session(
    request: Request, principal: Principal, asked: ChatAsked | ResponseAsked, id: str
) -> CustomerSession:
    """Return a session that is gone on in. Its id may come from a browser: a customer who is said must be its."""
    session = await session_for(request, principal, id)
    if session.agent != asked.agent():
        raise Invalid("That session is another agent's.")
    if asked.names_customer() and session.customer != asked.customer():
        raise NotFound("There is no such session of that customer's.")
    return session


async def _new_session(request: Request, agent: str, customer: str, metadata: dict[str, str] | None) -> CustomerSession:
    session = await open_session(inside_of(request).database, agent, customer, metadata or {})
    request.state.tenant_id = session.tenant_id
    return session


def _require_sense(request: Request, asked: ChatAsked | ResponseAsked) -> None:
    """Raise `Invalid` for what makes no sense, and `Unavailable` if too many wait, before anything is made or said."""
    asked.require_sense()
    asked.text()
    if asked.stream and hasattr(request.state, "idempotency_key"):
        raise Invalid("A stream is not kept, so it takes no Idempotency-Key.")
    require_place(request.app)


async def _said(request: Request, session: CustomerSession, asked: ChatAsked | ResponseAsked) -> Taken:
    if asked.stream:
        await inside_of(request).live.expect(session.session_id)
    return await say_in(inside_of(request), session, asked.text(), uuid.uuid4().hex)


async def _chat_stream(asked: ChatAsked, pieces: AsyncGenerator[Piece, None]) -> AsyncIterator[str]:
    id = f"chatcmpl-{uuid.uuid4().hex}"
    yield encode(shapes.chat_chunk(id, asked.model, {"role": "assistant", "content": ""}))
    async with aclosing(_with_errors(pieces)) as said:
        async for piece in said:
            if isinstance(piece, SubclawError):
                yield encode(json.dumps(_error(piece)))
                return
            if piece is None:
                yield ": still here\n\n"
            elif isinstance(piece, Answered):
                yield encode(shapes.chat_chunk(id, asked.model, {}, finish="stop"))
                if (asked.stream_options or {}).get("include_usage"):
                    yield encode(shapes.chat_chunk(id, asked.model, {}, usage=shapes.chat_usage(piece)))
                yield encode("[DONE]")
            else:
                yield encode(shapes.chat_chunk(id, asked.model, {"content": piece}))


async def _response_stream(
    asked: ResponseAsked, session: CustomerSession, pieces: AsyncGenerator[Piece, None]
) -> AsyncIterator[str]:
    # The id is there before the end is known; what counts of it is the session.
    id, said, number = shapes.response_id(session, 0), "", 0

    def numbered(event: dict[str, Any]) -> str:
        nonlocal number
        number += 1
        return encode(json.dumps(event | {"sequence_number": number - 1}), event=event["type"])

    for event in shapes.beginning(asked, id):
        yield numbered(event)
    async with aclosing(_with_errors(pieces)) as found:
        async for piece in found:
            if isinstance(piece, SubclawError):
                failure = {"type": "error", "code": "server_error", "message": piece.public, "param": None}
                yield numbered(failure)
                return
            if piece is None:
                yield ": still here\n\n"
            elif isinstance(piece, Answered):
                for event in shapes.ending(asked, id, said, piece):
                    yield numbered(event)
            else:
                said += piece
                yield numbered(shapes.delta(id, piece))


async def _with_errors(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece | SubclawError, None]:
    """Yield what comes, and at last the error if there is one: a stream that has begun cannot be answered otherwise."""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except SubclawError as error:
            yield error


def _error(error: SubclawError) -> dict[str, Any]:
    return {"error": {"message": error.public, "type": type(error).__name__, "code": None, "param": None}}
