"""`/v1/agents`: which agents there are, and opening sessions with them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from subclaw.api.v1.access import allowed, require_agent, require_widget, session_for
from subclaw.api.v1.inside import inside_of
from subclaw.api.v1.parts import (
    CAN_FAIL,
    AgentId,
    Body,
    Bound,
    Cursor,
    Limit,
    Name,
    Page,
    Text,
    number_of,
    page_of,
    text_of,
)
from subclaw.api.v1.route import ApiRoute
from subclaw.core.api_key import Principal, Scope
from subclaw.core.business import CustomerChannel, CustomerSession
from subclaw.core.errors import NotFound
from subclaw.core.session_token import LIFE_LIMIT_S, SessionToken, sign_token
from subclaw.store.customers import open_session
from subclaw.store.owners import LAST_ID, OwnedAgent, owned_agents, owned_sessions

TOKEN_LIFE_S = 900


class Agent(BaseModel):
    """An agent."""

    id: str = Field(description="Its id: the name of its folder.")
    version: int = Field(description="The version that customers get.")
    canary: int | None = Field(description="The version that some customers get instead, if there is one.")
    canary_share: int = Field(description="How many hundredths of the customers get the canary.")
    changed_at: datetime = Field(description="When that was changed last.")


class SessionWanted(Body):
    """A session that is to be opened."""

    customer: Name = Field(description="Your own id of the customer. The first session makes the customer.")
    channel: CustomerChannel = Field(
        default=CustomerChannel.API,
        description="Who talks in it: your server, or the widget in the customer's browser, too. "
        "The agent's agent.toml names what there may be.",
    )
    binding: Bound = Field(
        default={},
        description="What the agent's tools are given with each call of this session: ids, scopes, tokens. "
        "The model never sees it, and cannot change it.",
    )


class Session(BaseModel):
    """A customer's session with an agent."""

    id: str = Field(description="The session's id. Whoever has a key for the agent can use it.")
    agent: str = Field(description="The agent's id.")
    version: int = Field(description="The agent's version, which stays the same for as long as the session lasts.")
    customer: str = Field(description="Your own id of the customer.")
    channel: CustomerChannel = Field(description="Who talks in it.")
    opened_at: datetime | None = Field(default=None, description="When it was opened.")


class TokenWanted(Body):
    """A session token that is to be made."""

    life_s: int = Field(default=TOKEN_LIFE_S, ge=10, le=LIFE_LIMIT_S, description="For how many seconds it is good.")


class Token(BaseModel):
    """A session token, for a browser."""

    token: str = Field(description="What the browser shows: Authorization: Bearer sct_…")
    session: str = Field(description="The session that it is for.")
    expires_at: datetime = Field(description="Until when it is good.")


def agents_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ApiRoute, responses=CAN_FAIL)
    _add_agents(router)
    _add_sessions(router)
    _add_session(router)
    return router


def _add_agents(router: APIRouter) -> None:
    @router.get("/agents", tags=["agents"], summary="List agents")
    async def agents(
        request: Request,
        principal: Annotated[Principal, Depends(allowed(Scope.AGENTS_READ))],
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Page[Agent]:
        """List the agents that your key is for and that are live, by their ids."""
        operator = inside_of(request).operator
        found = await owned_agents(operator, principal.agents, after=text_of(cursor), limit=limit)
        return page_of(found, list(map(_shown, found)), limit, found[-1].id if found else "")

    @router.get("/agents/{agent}", tags=["agents"], summary="Get an agent")
    async def agent(
        request: Request, agent: AgentId, principal: Annotated[Principal, Depends(allowed(Scope.AGENTS_READ))]
    ) -> Agent:
        """Get one agent."""
        require_agent(principal, agent)
        for found in await owned_agents(inside_of(request).operator, [agent], after="", limit=1):
            return _shown(found)
        raise NotFound(f"There is no agent {agent!r}.")


def _shown(found: OwnedAgent) -> Agent:
    return Agent(
        id=found.id,
        version=found.version,
        canary=found.canary,
        canary_share=found.canary_share,
        changed_at=found.changed_at,
    )


def _add_sessions(router: APIRouter) -> None:
    @router.post("/agents/{agent}/sessions", tags=["sessions"], status_code=201, summary="Open a session")
    async def open_one(
        request: Request,
        agent: AgentId,
        wanted: SessionWanted,
        principal: Annotated[Principal, Depends(allowed(Scope.SESSIONS_WRITE))],
    ) -> Session:
        """Open a session of a customer's with an agent, with what its tools are to know of the customer."""
        require_agent(principal, agent)
        made = await open_session(inside_of(request).database, agent, wanted.customer, wanted.binding, wanted.channel)
        request.state.tenant_id = made.tenant_id
        return _session(made)

    @router.get("/agents/{agent}/sessions", tags=["sessions"], summary="List sessions")
    async def sessions(
        request: Request,
        agent: AgentId,
        principal: Annotated[Principal, Depends(allowed(Scope.SESSIONS_READ))],
        customer: Annotated[Text, Query(max_length=200, description="Only this customer's.")] = "",
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Page[Session]:
        """List an agent's sessions, the newest first."""
        require_agent(principal, agent)
        before = number_of(cursor, LAST_ID)
        operator = inside_of(request).operator
        found = await owned_sessions(operator, agent, customer=customer, before=before, limit=limit)
        shown = [
            Session(
                id=one.id,
                agent=one.agent,
                version=one.version,
                customer=one.customer,
                channel=CustomerChannel(one.channel),
                opened_at=one.opened_at,
            )
            for one in found
        ]
        return page_of(found, shown, limit, str(found[-1].number) if found else "")


def _add_session(router: APIRouter) -> None:
    @router.get("/sessions/{session}", tags=["sessions"], summary="Get a session")
    async def session(
        request: Request, session: str, principal: Annotated[Principal, Depends(allowed(Scope.SESSIONS_READ))]
    ) -> Session:
        """Get one session. What is bound to it is not shown again."""
        found = await session_for(request, principal, session)
        return _session(found)

    @router.post("/sessions/{session}/tokens", tags=["sessions"], status_code=201, summary="Make a session token")
    async def token(
        request: Request,
        session: str,
        wanted: TokenWanted,
        principal: Annotated[Principal, Depends(allowed(Scope.SESSIONS_WRITE))],
    ) -> Token:
        """Make a token with which a browser can talk in this session alone, for a short while: the chat widget's.

        The session must be one for the widget.

        It is signed with your key, and ends with it. Your server can also sign one by itself; see the documentation.
        """
        found = await session_for(request, principal, session)
        require_widget(found)
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=wanted.life_s)
        said = SessionToken(key_id=principal.key_id, session=found.session_id, expires_at=expires_at)
        key = request.headers["authorization"].split(None, 1)[1].strip()
        request.state.is_repeatable = True  # a token is a credential: it is made again, and not kept
        return Token(token=sign_token(said, key), session=found.session_id, expires_at=expires_at)


def _session(found: CustomerSession) -> Session:
    return Session(
        id=found.session_id,
        agent=found.agent,
        version=found.version,
        customer=found.customer,
        channel=found.channel,
    )
