"""Who makes a call: an API key or a session token, and what it is for."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, cast

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from subclaw.api.v1.inside import Inside, inside_of
from subclaw.api.v1.problems import Limited
from subclaw.core.api_key import Principal, Scope
from subclaw.core.business import CustomerChannel, CustomerSession
from subclaw.core.errors import Denied, NotFound, Unauthenticated
from subclaw.core.session_token import TOKEN_PREFIX, is_signed, read_token
from subclaw.store.api_keys import use_key, verifier
from subclaw.store.customers import session_of

BEARER = HTTPBearer(
    auto_error=False,
    description="An API key (`sck_…`). Where it says so, a session token (`sct_…`) does for its session.",
)
_WRONG_KEY = "This takes a key that is good: Authorization: Bearer sck_…"
_WRONG_TOKEN = "This session token is not good any more. The server that made it can make another one."


async def principal_of(request: Request) -> Principal:
    """Return who makes a call; it is found once a request. Errors: `Unauthenticated`, `Limited`, `Unavailable`."""
    known = getattr(request.state, "principal", None)
    if known is None:
        known = request.state.principal = await _principal(inside_of(request), _presented(request))
    return cast(Principal, known)


def _presented(request: Request) -> str:
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else ""


async def _principal(inside: Inside, presented: str) -> Principal:
    if presented.startswith(TOKEN_PREFIX):
        return await _of_token(inside, presented)
    if not presented.isascii() or not 0 < len(presented) <= 200:
        raise Unauthenticated(_WRONG_KEY)
    used = await use_key(inside.database, presented)
    if used is None:
        raise Unauthenticated(_WRONG_KEY)
    if used.wait_s > 0:
        raise Limited("This key is used too much. Wait a little.", retry_after_s=used.wait_s)
    return used.principal


async def _of_token(inside: Inside, presented: str) -> Principal:
    read = read_token(presented)
    if read is None or read[0].expires_at.timestamp() <= time.time() or not 0 < read[0].key_id < 2**63:
        raise Unauthenticated(_WRONG_TOKEN)
    token, content, signature = read
    found = await verifier(inside.database, token.key_id)
    if found is None or not is_signed(content, signature, found[0]) or Scope.SESSIONS_WRITE not in found[1].scopes:
        raise Unauthenticated(_WRONG_TOKEN)
    scopes = frozenset({Scope.SESSIONS_READ, Scope.SESSIONS_WRITE})
    return Principal(key_id=token.key_id, scopes=scopes, agents=found[1].agents, session=token.session)


def allowed(scope: Scope, *, by_token: bool = False) -> Callable[..., Awaitable[Principal]]:
    """Return what lets in whoever has a scope; a session token only with `by_token`."""

    async def principal(
        request: Request, presented: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
    ) -> Principal:
        found = await principal_of(request)
        if found.session is not None and not by_token:
            raise Denied("A session token is for its session's events alone.")
        found.require(scope)
        return found

    return principal


def require_agent(principal: Principal, agent: str) -> None:
    """Raise `NotFound` for an agent that a key is not for: it need not know which others there are."""
    if not principal.sees(agent):
        raise NotFound(f"There is no agent {agent[:64]!r}.")


def require_widget(session: CustomerSession) -> None:
    """Raise `Denied` for a session in which no browser talks."""
    if session.channel is not CustomerChannel.WIDGET:
        raise Denied('No browser talks in this session: it was not opened with "channel": "widget".')


async def session_for(request: Request, principal: Principal, session_id: str) -> CustomerSession:
    """Return a session that a caller may see. Errors: `NotFound`, `Unavailable`."""
    found = await session_of(inside_of(request).database, session_id)
    is_theirs = found is not None and principal.sees(found.agent) and principal.session in (None, session_id)
    if found is None or not is_theirs:
        raise NotFound("There is no such session.")
    if principal.session is not None:
        require_widget(found)
    request.state.tenant_id = found.tenant_id
    return found
