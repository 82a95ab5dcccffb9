"""`/v1/webhooks`: where your server is told of what happens."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from subclaw.api.v1.access import allowed, require_agent
from subclaw.api.v1.inside import Inside, inside_of
from subclaw.api.v1.parts import CAN_FAIL, AgentId, Body, Cursor, Limit, Page, page_of, text_of
from subclaw.api.v1.route import ApiRoute
from subclaw.core.api_key import Principal, Scope
from subclaw.core.errors import Denied, Exhausted, NotFound
from subclaw.core.webhook import (
    SECRET_BYTES,
    SECRET_PREFIX,
    URL_LIMIT_CHARACTERS,
    WebhookEvent,
    read_url,
    seal_label,
)
from subclaw.egress.seal import seal
from subclaw.store import webhooks as store

EndpointId = Annotated[str, Path(pattern="^whe_[A-Za-z0-9_-]{1,40}$", max_length=44, description="The endpoint.")]
Reading = Annotated[Principal, Depends(allowed(Scope.WEBHOOKS_READ))]
Writing = Annotated[Principal, Depends(allowed(Scope.WEBHOOKS_WRITE))]


class EndpointWanted(Body):
    """An endpoint that is to be made."""

    url: str = Field(max_length=URL_LIMIT_CHARACTERS, description="Where webhooks go, by https.")
    events: list[WebhookEvent] = Field(min_length=1, max_length=10, description="What it is told of.")
    agent: AgentId | None = Field(default=None, description="Of which agent; of all, without one.")


class Endpoint(BaseModel):
    """Where webhooks go."""

    id: str = Field(description="The endpoint.")
    url: str = Field(description="Where webhooks go.")
    events: list[str] = Field(description="What it is told of.")
    agent: str | None = Field(description="Of which agent; null is all.")
    created_at: datetime = Field(description="When it was made.")
    failing_since: datetime | None = Field(default=None, description="Since when nothing arrives there.")
    disabled_at: datetime | None = Field(default=None, description="When it was disabled, after five days of failure.")
    disabled_because: str = Field(default="", description="What went wrong last.")
    secret: str | None = Field(default=None, description="What checks signatures: `whsec_…`. Only when it is made.")


class Delivery(BaseModel):
    """One webhook, sent or to be sent."""

    id: str = Field(description="The `webhook-id`, the same at every try.")
    type: str = Field(description="What it tells.")
    state: Literal["queued", "sent", "dead"] = Field(description="Dead ones are tried no more.")
    attempts: int = Field(description="How often it was tried.")
    created_at: datetime = Field(description="When it happened.")
    send_at: datetime = Field(description="When it is tried next, or was last.")
    detail: str = Field(description="What went wrong last.")


def hooks_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ApiRoute, responses=CAN_FAIL, tags=["webhooks"])
    _add_endpoints(router)
    _add_endpoint(router)
    _add_deliveries(router)
    return router


def _add_endpoints(router: APIRouter) -> None:
    @router.post("/webhooks", status_code=201, summary="Make an endpoint")
    async def make(request: Request, wanted: EndpointWanted, principal: Writing) -> Endpoint:
        """Have webhooks sent to a URL, signed as Standard Webhooks says. The secret is shown this once.

        One that fails is tried again for three days, and then dead; an endpoint that fails for five days is disabled.
        """
        if wanted.agent is not None:
            require_agent(principal, wanted.agent)
        elif principal.agents:
            raise Denied("This key is for some agents only. Say which one: agent.")
        made = await _made(inside_of(request), wanted)
        request.state.kept_answer = made.model_copy(update={"secret": None}).model_dump(mode="json")
        return made

    @router.get("/webhooks", summary="List endpoints")
    async def endpoints(request: Request, principal: Reading, limit: Limit = 50, cursor: Cursor = "") -> Page[Endpoint]:
        """List endpoints."""
        operator = inside_of(request).operator
        found = await store.endpoints(operator, principal.agents, after=text_of(cursor), limit=limit)
        return page_of(found, list(map(_shown, found)), limit, found[-1].id if found else "")


async def _made(inside: Inside, wanted: EndpointWanted) -> Endpoint:
    """Make an endpoint. Errors: `Invalid` for the URL, `Exhausted` if there are too many."""
    read_url(wanted.url)
    id = f"whe_{secrets.token_urlsafe(15)}"
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    events = sorted(set(map(str, wanted.events)))
    created_at = await store.make_endpoint(
        inside.operator,
        id,
        agent=wanted.agent or "",
        url=wanted.url,
        events=events,
        sealed=seal(inside.seal_to, secret, seal_label(id)),
    )
    if created_at is None:
        raise Exhausted(f"There are {store.ENDPOINTS_LIMIT} endpoints already. Remove one first.")
    return Endpoint(id=id, url=wanted.url, events=events, agent=wanted.agent, created_at=created_at, secret=secret)


def _add_endpoint(router: APIRouter) -> None:
    @router.get("/webhooks/{endpoint}", summary="Get an endpoint")
    async def one(request: Request, endpoint: EndpointId, principal: Reading) -> Endpoint:
        """Get one endpoint."""
        return _shown(await _found(request, principal, endpoint))

    @router.delete("/webhooks/{endpoint}", status_code=204, summary="Remove an endpoint")
    async def remove(request: Request, endpoint: EndpointId, principal: Writing) -> Response:
        """Remove an endpoint, with what was to go there."""
        await _found(request, principal, endpoint)
        await store.remove_endpoint(inside_of(request).operator, endpoint)
        return Response(status_code=204)

    @router.post("/webhooks/{endpoint}/enable", summary="Enable an endpoint")
    async def enable(request: Request, endpoint: EndpointId, principal: Writing) -> Endpoint:
        """Have webhooks sent to an endpoint again that was disabled. What waits goes at once."""
        await _found(request, principal, endpoint)
        await store.enable_endpoint(inside_of(request).operator, endpoint)
        return _shown(await _found(request, principal, endpoint))


def _add_deliveries(router: APIRouter) -> None:
    @router.get("/webhooks/{endpoint}/deliveries", summary="List deliveries")
    async def deliveries(
        request: Request,
        endpoint: EndpointId,
        principal: Reading,
        state: Annotated[
            Literal["queued", "sent", "dead"] | None, Query(description="Only those in this state.")
        ] = None,
        limit: Limit = 50,
    ) -> Sequence[Delivery]:
        """List the newest of what went to an endpoint, or is to."""
        await _found(request, principal, endpoint)
        found = await store.deliveries(inside_of(request).operator, endpoint, state=state or "", limit=limit)
        return [Delivery(**{name: getattr(one, name) for name in Delivery.model_fields}) for one in found]

    @router.post("/webhooks/{endpoint}/deliveries/{delivery}/retry", status_code=202, summary="Retry a delivery")
    async def retry(
        request: Request,
        endpoint: EndpointId,
        delivery: Annotated[str, Path(pattern="^msg_[0-9a-f]{32}$")],
        principal: Writing,
    ) -> Response:
        """Have a dead delivery tried again."""
        await _found(request, principal, endpoint)
        if not await store.deliver_again(inside_of(request).operator, endpoint, delivery):
            raise NotFound("There is no such delivery that is dead.")
        return Response(b"{}", 202, media_type="application/json")


async def _found(request: Request, principal: Principal, id: str) -> store.Endpoint:
    for found in await store.endpoints(inside_of(request).operator, principal.agents, id=id, limit=1):
        return found
    raise NotFound("There is no such endpoint.")


def _shown(found: store.Endpoint) -> Endpoint:
    return Endpoint(
        id=found.id,
        url=found.url,
        events=list(found.events),
        agent=found.agent or None,
        created_at=found.created_at,
        failing_since=found.failing_since,
        disabled_at=found.disabled_at,
        disabled_because=found.disabled_because,
    )
