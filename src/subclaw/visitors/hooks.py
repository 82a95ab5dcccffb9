"""Webhooks of tenants: what is sent to `/_/hook/TOKEN` becomes a message to the agent, though its machine sleeps."""

import hashlib
import secrets

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from subclaw.core.access import is_token, token_hash
from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.message import clean_text
from subclaw.core.visit import hook_words
from subclaw.store.visitors import Taken, find_hook, take_hook
from subclaw.visitors.visitor import Visiting, read_bounded

_DELIVERIES = ("webhook-id", "x-github-delivery", "x-request-id", "idempotency-key", "x-event-id")
"""Headers in which senders name a call: the same name twice is the same call."""


def hooks_router(visiting: Visiting) -> APIRouter:
    """Return the route that webhooks' senders call."""
    router = APIRouter(include_in_schema=False)

    @router.post("/_/hook/{token}")
    async def take(request: Request, token: str) -> Response:
        tenant_id = await visiting.tenant_of(request)
        hook = await find_hook(visiting.database, tenant_id, token_hash(token)) if is_token(token) else None
        if hook is None:
            raise NotFound("There is no webhook at this address.")
        body = await read_bounded(request)
        words = hook_words(hook, _text(body))
        taken = await take_hook(visiting.database, tenant_id, hook, _delivery(request), words)
        if taken is Taken.FULL:
            raise Exhausted("This webhook is called too often. Try again in an hour.")
        return JSONResponse({"ok": True}, status_code=202)

    return router


def _delivery(request: Request) -> str:
    """Return the sender's name of the call; without one, each is a call of its own."""
    named = next((request.headers[name] for name in _DELIVERIES if name in request.headers), "")
    return hashlib.sha256(named.encode()).hexdigest()[:32] if named else secrets.token_hex(16)


def _text(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return clean_text(text) if text.strip() else ""
