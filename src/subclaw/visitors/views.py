"""Counting views without cookies: a page that shows `/_/hit` as a picture is counted, by the path that it is at.

Nothing of the visitor is kept, and whoever shows no pictures, as robots do, is not counted.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from subclaw.core.errors import SubclawError
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.visitors import count_views
from subclaw.visitors.visitor import TenantAt, hostname_of

FLUSH_INTERVAL_S = 5.0
TENANTS_LIMIT, PATHS_LIMIT = 20_000, 200
"""Of how many tenants, and how many of their pages, views are held until they are written; others are one page."""

_PATH_LIMIT_CHARACTERS = 200
_DOT = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00"
    b"\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
"""A picture of one transparent dot."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex"}
_log = logging.getLogger(__name__)


class ViewCounter:
    """Holds what was counted, and writes it every few seconds. What a killed process held is lost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[TenantId, Counter[str]] = {}

    def count(self, tenant_id: TenantId, path: str) -> None:
        """Count one view."""
        if tenant_id not in self._held and len(self._held) >= TENANTS_LIMIT:
            return
        pages = self._held.setdefault(tenant_id, Counter())
        pages[path if path in pages or len(pages) < PATHS_LIMIT else ""] += 1

    async def run(self) -> None:
        """Write what is held, again and again; once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(FLUSH_INTERVAL_S)
                await self.flush()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_INTERVAL_S):
                    await self.flush()

    async def flush(self) -> None:
        """Write what is held. What cannot be written is held on."""
        held, self._held = self._held, {}
        for tenant_id, pages in held.items():
            try:
                await count_views(self._database, tenant_id, pages)
            except SubclawError as error:
                _log.warning("views of tenant %d were not written: %s", tenant_id, error.internal)
                self._held.setdefault(tenant_id, Counter()).update(pages)


def views_router(counter: ViewCounter, tenant_at: TenantAt) -> APIRouter:
    """Return the route of the picture."""
    router = APIRouter(include_in_schema=False)

    @router.get("/_/hit")
    async def hit(request: Request) -> Response:
        if (path := _page(request)) and (tenant_id := await tenant_at(hostname_of(request))) is not None:
            counter.count(tenant_id, path)
        return Response(_DOT, media_type="image/gif", headers=_HEADERS)

    return router


def _page(request: Request) -> str | None:
    """Return the path of the page that shows the picture; None if it is none of this site."""
    try:
        page = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return None
    is_own = page.netloc.lower() == request.headers.get("host", "").lower()
    return (page.path or "/")[:_PATH_LIMIT_CHARACTERS] if is_own and page.netloc else None
