"""The routes of the page: what a link is for, and handing the secret over, once.

A link's path holds a credential, so whoever serves these routes writes no access log of them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from subclaw.core.access import (
    AccessRequests,
    RequestState,
    SecretRequest,
    is_token,
    not_allowed,
    require_open_hosts,
    require_possible,
)
from subclaw.core.access_words import bound_words, listed
from subclaw.core.agent import Access
from subclaw.core.errors import Conflict, Denied, Exhausted, Invalid, NotFound
from subclaw.core.placeholder import placeholder_for
from subclaw.core.policy import Rule, Scope
from subclaw.core.secret import Binding, label
from subclaw.egress.seal import VALUE_LIMIT_CHARACTERS, seal
from subclaw.handover.form import FOLDER, Chosen, chosen, described, read_form, suggested, value_of
from subclaw.pages.page import asset_response
from subclaw.pages.sheet import Render, sheet_assets, sheet_renderer, sheet_route
from subclaw.statuses import status_of
from subclaw.store.access import Kept, find_request, set_secret
from subclaw.store.database import Database
from subclaw.store.secrets import SECRET_LIMIT, existing_placeholder

TRIES = 3
"""How often a secret is sealed, if somebody else sets one of that name meanwhile."""

_NO_LINK = NotFound("This link does not work. It may have been cut short on its way: copy all of it.")
_USED = "This link has been used: the secret was handed over, and your agent has been told. It works only once."
_EXPIRED = "This link has expired. Ask your agent for another one."


@dataclass(frozen=True, kw_only=True)
class HandoverSettings:
    """What the page is told: the product's name, the gateway's public key, and who may open hosts."""

    title: str
    public_key: bytes
    access: Access


def handover_router(settings: HandoverSettings, database: Database, requests: AccessRequests) -> APIRouter:
    """Return the routes below `/secret`. The database is open in the application's role."""
    assets = sheet_assets(FOLDER)
    render = sheet_renderer(FOLDER, settings.title, assets, "/secret/assets")
    router = APIRouter(prefix="/secret", route_class=sheet_route(render), include_in_schema=False)

    @router.get("/assets/{digest}/{name}")
    async def asset(digest: str, name: str) -> Response:
        return asset_response(assets, digest, name)

    @router.get("/{token}")
    async def show(token: str) -> Response:
        asked = await _find(database, token)
        if asked.state is not RequestState.OPEN:
            return _over(render, asked.state)
        return _form(render, asked, await requests.rules(asked.tenant_id), suggested(asked.kind))

    @router.post("/{token}")
    async def take(request: Request, token: str) -> Response:
        fields = await read_form(request)
        asked = await _find(database, token)
        if asked.state is not RequestState.OPEN:
            return _over(render, asked.state)
        rules = await requests.rules(asked.tenant_id)
        try:
            name, binding = described(asked, chosen(fields))
            require_possible(rules, binding.hosts, binding.ports)
            require_open_hosts(rules, binding, settings.access)
            kept = await _keep(settings, database, token, asked, name, binding, value_of(fields, binding))
        except (Invalid, Denied, Exhausted) as error:
            return _form(render, asked, rules, chosen(fields), notice=error.public, status=status_of(error))
        if kept is not Kept.SET:
            return _over(render, RequestState(kept))
        words = f"{name} is sealed, and your agent {asked.tenant_name} has been told. You can close this page."
        return render("words.html", heading="Thank you", words=words)

    return router


async def _find(database: Database, token: str) -> SecretRequest:
    asked = await find_request(database, token) if is_token(token) else None
    if asked is None:
        raise _NO_LINK
    return asked


async def _keep(
    settings: HandoverSettings,
    database: Database,
    token: str,
    asked: SecretRequest,
    name: str,
    binding: Binding,
    value: str,
) -> Kept:
    """Seal the value and store it, if the link is still good for it."""
    for _ in range(TRIES):
        placeholder = await existing_placeholder(database, Scope.TENANT, asked.tenant_id, name)
        placeholder = placeholder or placeholder_for(value, random.SystemRandom())
        sealed = seal(settings.public_key, value, label(name, Scope.TENANT, asked.tenant_id, placeholder, binding))
        kept = await set_secret(database, token, name=name, placeholder=placeholder, binding=binding, sealed=sealed)
        if kept is Kept.FULL:
            raise Exhausted(f"There are {SECRET_LIMIT} secrets already. Whoever runs this has to revoke some first.")
        if kept is not Kept.CHANGED:
            return kept
    raise Conflict("That secret was just set by somebody else. Try again.")


def _over(render: Render, state: RequestState) -> Response:
    used = state is RequestState.USED
    heading, words = ("It is there", _USED) if used else ("This link is over", _EXPIRED)
    return render("words.html", status=410, heading=heading, words=words)


def _form(
    render: Render,
    asked: SecretRequest,
    rules: Sequence[Rule],
    typed: Chosen,
    *,
    notice: str = "",
    status: int = 200,
) -> Response:
    closed = not_allowed(rules, asked.binding) if asked.binding else ()
    return render(
        "form.html",
        status=status,
        asked=asked,
        what=asked.name or asked.kind,
        bound=bound_words(asked.binding) if asked.binding else "",
        closed=listed(closed, "and") if closed else "",
        chosen=typed,
        notice=notice,
        limit=VALUE_LIMIT_CHARACTERS,
    )
