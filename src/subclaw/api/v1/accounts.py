"""`/v1/…/accounts`: customers connect accounts at providers, which the agent's tools then use in their name."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from subclaw.api.v1.access import allowed, session_for
from subclaw.api.v1.customers import CustomerId, found_customer
from subclaw.api.v1.inside import inside_of
from subclaw.api.v1.parts import CAN_FAIL, Body
from subclaw.api.v1.route import ApiRoute
from subclaw.core.api_key import Principal, Scope
from subclaw.core.oauth import LINK_LIFE_S, account_secret_name
from subclaw.core.policy import Scope as Owner
from subclaw.core.tool import Caller
from subclaw.store.customers import conversation_of
from subclaw.store.oauth import accounts_of
from subclaw.store.secrets import remove_secret

Provider = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,31}$", description="The provider, by the operator's name.")]


class LinkWanted(Body):
    """An account that is to be connected."""

    provider: Provider


class Link(BaseModel):
    """Where a customer connects an account, in their own browser, once."""

    provider: str = Field(description="The provider.")
    url: str = Field(description="Where the customer goes. Whoever has it can connect an account of theirs instead.")
    expires_at: datetime = Field(description="Until when it works.")


class Account(BaseModel):
    """An account that a customer has connected. Its tokens are the gateway's alone."""

    provider: str = Field(description="The provider.")
    connected_at: datetime = Field(description="When it was connected last.")
    is_lost: bool = Field(description="Whether the provider takes its token no more: connect it anew.")


def accounts_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ApiRoute, responses=CAN_FAIL, tags=["accounts"])

    @router.post("/sessions/{session}/accounts", status_code=201, summary="Have an account connected")
    async def link(
        request: Request,
        session: str,
        wanted: LinkWanted,
        principal: Annotated[Principal, Depends(allowed(Scope.SESSIONS_WRITE))],
    ) -> Link:
        """Make a link by which the session's customer connects an account. The session's agent is told when it is."""
        inside, found = inside_of(request), await session_for(request, principal, session)
        conversation_id = await conversation_of(inside.database, found.tenant_id, found.session_id)
        # One call a provider: a new link takes the place of the one before.
        call_id = f"account {wanted.provider}"
        caller = Caller(tenant_id=found.tenant_id, conversation_id=conversation_id, call_id=call_id, turn_id=call_id)
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LINK_LIFE_S)
        url = await inside.start_account(caller, wanted.provider)
        request.state.is_repeatable = True  # a link is a credential: it is made again, and not kept
        return Link(provider=wanted.provider, url=url, expires_at=expires_at)

    _add_connected(router)
    return router


def _add_connected(router: APIRouter) -> None:
    @router.get("/customers/{customer}/accounts", summary="List a customer's accounts")
    async def accounts(
        request: Request, customer: CustomerId, principal: Annotated[Principal, Depends(allowed(Scope.CUSTOMERS_READ))]
    ) -> list[Account]:
        """List the accounts that a customer has connected, by provider."""
        inside = inside_of(request)
        found = await found_customer(inside, principal, customer)
        return [
            Account(provider=one.provider, connected_at=one.connected_at, is_lost=one.is_lost)
            for one in await accounts_of(inside.operator, found.tenant_id)
        ]

    @router.delete("/customers/{customer}/accounts/{provider}", status_code=204, summary="Disconnect an account")
    async def disconnect(
        request: Request,
        customer: CustomerId,
        provider: Annotated[Provider, Path()],
        principal: Annotated[Principal, Depends(allowed(Scope.CUSTOMERS_WRITE))],
    ) -> None:
        """Disconnect a customer's account: its tokens are forgotten, and handed back where the provider takes them."""
        inside = inside_of(request)
        found = await found_customer(inside, principal, customer)
        await remove_secret(inside.operator, Owner.TENANT, found.tenant_id, account_secret_name(provider))
