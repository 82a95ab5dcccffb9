"""Private sites: who has the owner's link, or a code that the owner was sent, comes in and stays in for a month.

The router asks `/-/private` before it serves anything of a private site, with the visitor's headers.
"""

import secrets
from collections.abc import Collection

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from subclaw.core.access import is_token, token_hash
from subclaw.core.errors import Denied
from subclaw.core.tenant import TenantId
from subclaw.core.visit import next_page
from subclaw.store.visitors import KEY_LIFE, enter_site, is_private, may_see_site, send_site_code
from subclaw.visitors.visitor import Visiting, hostname_of, read_fields

PRIVATE_PATH = "/-/private"
ENTER_PATH = "/_/enter"
_CODE_DIGITS = 6


def private_router(visiting: Visiting, *, is_secure: bool, read_in_place: Collection[str]) -> APIRouter:
    """Return what the router asks, and the page by which visitors come in.

    With `is_secure` sites are reached by https. Messages of channels that are `read_in_place` need no outbox.
    """
    router, render = visiting.router(), visiting.render()
    cookie = "__Host-site-key" if is_secure else "site-key"

    @router.api_route(PRIVATE_PATH, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    async def ask(request: Request) -> Response:
        tenant_id, key = await visiting.tenant_of(request), request.cookies.get(cookie, "")
        if await may_see_site(visiting.database, tenant_id, token_hash(key) if is_token(key) else b""):
            return Response(status_code=204)
        return RedirectResponse(ENTER_PATH, status_code=303)

    @router.get(ENTER_PATH)
    async def show(request: Request) -> Response:
        if not await is_private(visiting.database, await visiting.tenant_of(request)):
            return RedirectResponse("/", status_code=303)
        return render("enter.html", hostname=hostname_of(request), sent=False, notice="")

    @router.get(ENTER_PATH + "/{link}")
    async def by_link(request: Request, link: str) -> Response:
        # A page of its own between link and cookie: programs that look at links before people do get no key.
        return render("enter_link.html", hostname=hostname_of(request), link=link if is_token(link) else "")

    @router.post(ENTER_PATH)
    async def enter(request: Request) -> Response:
        tenant_id, fields = await visiting.tenant_of(request), dict(await read_fields(request))
        if "send" in fields:
            await _send_code(visiting, tenant_id, hostname_of(request), read_in_place)
            return render("enter.html", hostname=hostname_of(request), sent=True, notice="")
        link, code = fields.get("link", ""), "".join(filter(str.isdigit, fields.get("code", "")[:40]))
        key = secrets.token_urlsafe(32)
        entered = await enter_site(
            visiting.database,
            tenant_id,
            link_hash=token_hash(link) if is_token(link) else None,
            code_hash=token_hash(code) if code else None,
            key_hash=token_hash(key),
        )
        if not entered:
            raise Denied("That does not open this site. Ask its owner for a link, or have a new code sent.")
        answer = RedirectResponse(next_page(fields.get("page", "")) or "/", status_code=303)
        answer.set_cookie(
            cookie, key, max_age=int(KEY_LIFE.total_seconds()), secure=is_secure, httponly=True, samesite="lax"
        )
        return answer

    return router


async def _send_code(visiting: Visiting, tenant_id: TenantId, hostname: str, read_in_place: Collection[str]) -> None:
    """Have a code said to the owner. Whoever asks learns nothing of whether it was."""
    code = f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}"
    words = f"{code} opens your private site {hostname} for 10 minutes, to whoever you give it to."
    await send_site_code(visiting.database, tenant_id, token_hash(code), words, read_in_place)
