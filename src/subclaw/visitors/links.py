"""Short links: `/s/CODE` on the operator's hostname leads where a tenant's agent says.

Who follows one that leads away is shown where it leads, since the address that they clicked is the operator's. One that
is for once is opened by a button: programs that look at links before people do would use it up.
"""

import re
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from subclaw.core.errors import Invalid, NotFound
from subclaw.store.visitors import Followed, follow_short_link
from subclaw.visitors.visitor import Visiting

_CODE = re.compile(r"[a-z0-9]{6,12}")
_NO_LINK = NotFound("This link does not work. It may have been cut short on its way: copy all of it.")


def links_router(visiting: Visiting) -> APIRouter:
    """Return the routes of short links."""
    router, render = visiting.router(), visiting.render()

    async def found(code: str, *, is_opened: bool) -> Followed:
        followed = (
            await follow_short_link(visiting.database, code, is_opened=is_opened) if _CODE.fullmatch(code) else None
        )
        if followed is None:
            raise _NO_LINK
        if followed.is_over:
            raise Invalid("This link has been used. It works only once: ask for another one.")
        return followed

    def page(followed: Followed, *, is_open: bool) -> Response:
        host, target = urlsplit(followed.target).netloc, followed.target if is_open else ""
        return render("link.html", host=host, target=target, name=followed.tenant_name, once=followed.is_once)

    @router.get("/s/{code}")
    async def show(code: str) -> Response:
        followed = await found(code, is_opened=False)
        is_own = await visiting.tenant_at(urlsplit(followed.target).hostname or "") is not None
        if not followed.is_once:
            await found(code, is_opened=True)
        if is_own and not followed.is_once:
            return _leading(followed)
        return page(followed, is_open=not followed.is_once)

    @router.post("/s/{code}")
    async def follow(code: str) -> Response:
        return page(await found(code, is_opened=True), is_open=True)

    return router


def _leading(followed: Followed) -> Response:
    return RedirectResponse(followed.target, status_code=303, headers={"Cache-Control": "no-store"})
