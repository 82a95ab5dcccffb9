"""The routes by which a person connects an account: to the provider, and back from it, on the tenant's own hostname.

Whatever a machine publishes there is of the same origin, so these routes set no cookie, and what comes back in the
address is of use to the gateway alone: it has the verifier.
"""

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from subclaw.core.access import is_token
from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.oauth import CALLBACK_PATH, RESERVED_PATH, START_PATH, Flow, FlowState, authorization_url
from subclaw.handover.form import FOLDER
from subclaw.pages.page import asset_response
from subclaw.pages.sheet import sheet_assets, sheet_renderer, sheet_route
from subclaw.store.database import Database
from subclaw.store.oauth import find_flow

Connect = Callable[[int, str], Awaitable[None]]
"""Has the gateway connect an account, by a flow's id and a code; see `egress.connect_client.connect_account`."""

_NO_LINK = NotFound("This link does not work. It may have been cut short on its way: copy all of it.")
_OVER = {
    FlowState.USED: Invalid("This link has been used. It works only once: ask your agent for another one."),
    FlowState.EXPIRED: Invalid("This link has expired. Ask your agent for another one."),
}
_CODE_LIMIT_CHARACTERS = 4_096
_log = logging.getLogger(__name__)


def accounts_router(title: str, database: Database, connect: Connect) -> APIRouter:
    """Return the routes below `/_/oauth`. The database is open in the application's role; `title` is the product's."""
    assets = sheet_assets(FOLDER)
    path = f"{RESERVED_PATH}oauth/assets"
    render = sheet_renderer(FOLDER, title, assets, path)
    router = APIRouter(route_class=sheet_route(render), include_in_schema=False)

    @router.get(path + "/{digest}/{name}")
    async def asset(digest: str, name: str) -> Response:
        return asset_response(assets, digest, name)

    @router.get(START_PATH + "{token}")
    async def start(request: Request, token: str) -> Response:
        flow = await _found(database, request, token, take=False)
        return RedirectResponse(authorization_url(flow, token), status_code=303, headers={"Cache-Control": "no-store"})

    @router.get(CALLBACK_PATH)
    async def back(request: Request) -> Response:
        given = request.query_params
        flow = await _found(database, request, given.get("state", ""), take=True)
        name, code = flow.provider.name, given.get("code", "")
        if "error" in given or not code:
            _log.info("account not connected provider=%s: the person or the provider said no", name)
            raise Denied(f"{name} was not connected. If you did not mean that, ask your agent for another link.")
        if len(code) > _CODE_LIMIT_CHARACTERS:
            raise Invalid(f"What {name} sent back cannot be used. Ask your agent for another link.")
        await connect(flow.id, code)
        words = f"Your agent can use {name} for you now, and has been told. You can close this page."
        return render("words.html", heading="Connected", words=words)

    return router


async def _found(database: Database, request: Request, token: str, *, take: bool) -> Flow:
    """Return the open flow of a token, if it belongs to the hostname that was asked. Errors: `NotFound`, `Invalid`."""
    flow = await find_flow(database, token, take=False) if is_token(token) else None
    if flow is None or _host(request) != urlsplit(flow.redirect_uri).hostname:
        raise _NO_LINK
    if take and flow.state is FlowState.OPEN:
        flow = await find_flow(database, token, take=True) or flow
    if over := _OVER.get(flow.state):
        raise over
    return flow


def _host(request: Request) -> str | None:
    """Return the hostname that was asked for, without a port. Errors: `NotFound`."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        raise _NO_LINK from None
