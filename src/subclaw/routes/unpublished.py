"""Hostnames that have no route: a site that is still to be made, or a name that was given up for another.

The router asks for one path in place of whatever a visitor wanted, so nothing else of ours is reached by a tenant's
hostname. What the database says holds at once, and the router need not be told of tenants who have no site.
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from subclaw.routes.config import UNPUBLISHED_PATH
from subclaw.routes.hostname import is_hostname, site_url
from subclaw.routes.pages import coming_page, nothing_page
from subclaw.routes.publisher import SiteAddress
from subclaw.routes.sites import ORIGINAL_URI_HEADER

_HEADERS = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex", "X-Content-Type-Options": "nosniff"}

NamedTenant = Callable[[str], Awaitable[str | None]]
"""Says what the tenant is called that has or had a name. Errors: `Unavailable`."""


def unpublished_router(named_tenant: NamedTenant, address: SiteAddress) -> APIRouter:
    """Return the route that the router asks for."""
    router = APIRouter(include_in_schema=False)

    @router.api_route(UNPUBLISHED_PATH, methods=["GET", "HEAD"])
    async def unpublished(request: Request) -> Response:
        written = request.headers.get("host", "").partition(":")[0]
        hostname = written.lower().rstrip(".")
        wanted = request.headers.get(ORIGINAL_URI_HEADER, "/").lstrip("/")
        if hostname != written and is_hostname(hostname):
            # The router knows one spelling of a hostname, the one in which browsers send it.
            return _lead_on(site_url(hostname, port=address.port, scheme=address.scheme) + wanted)
        name, dot, domain = hostname.partition(".")
        found = await named_tenant(name) if dot and domain == address.domain else None
        if found is None:
            return HTMLResponse(nothing_page(), status_code=404, headers=_HEADERS)
        if found == name:
            return HTMLResponse(coming_page(name), headers=_HEADERS)
        return _lead_on(address.url_of(found) + wanted)

    return router


def _lead_on(url: str) -> Response:
    return RedirectResponse(url, status_code=302, headers=_HEADERS)
