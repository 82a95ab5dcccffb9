"""Publishing: a tenant's folder or port becomes what visitors of its hostname get.

Always in this order: the release is on disk, the row says so, the router follows. Killed between any two of these, the
rows say what should be there, and `restore_routes` makes it so.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.core.route import FolderRoute, PausedRoute, Published, Route, SocketRoute
from subclaw.core.site import DynamicSite, Site, SiteContent, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.routes.hostname import site_hostname, site_url
from subclaw.routes.releases import Releases

_log = logging.getLogger(__name__)


class SiteStore(Protocol):
    """The rows of the sites."""

    async def name_of(self, tenant_id: TenantId) -> str:
        """Return the first label of the tenant's hostname.

        Errors: `NotFound`, `Denied` if the tenant is suspended or the site was taken down, `Unavailable`.
        """
        ...

    async def publish(self, tenant_id: TenantId, content: SiteContent, *, files: int = 0, size_bytes: int = 0) -> None:
        """Store what visitors get from now on, as a version of the site. Errors: `NotFound`, `Unavailable`."""
        ...

    async def all_sites(self) -> Sequence[Site]:
        """Return the sites of all tenants. Errors: `Unavailable`."""
        ...

    async def site_of(self, tenant_id: TenantId) -> Site | None:
        """Return a tenant's site, if it has one. Errors: `Unavailable`."""
        ...

    async def paused(self) -> str:
        """Return a mark of which sites are paused: equal exactly if these are. Errors: `Unavailable`."""
        ...


class Doors(Protocol):
    """The ways into machines: `Machines.forward`."""

    async def forward(self, tenant_id: TenantId, port: int) -> str:
        """Return an address in Caddy's notation; a connection to it wakes the machine and reaches the port inside."""
        ...


class Routes(Protocol):
    """The router: `CaddyRoutes`."""

    async def put(self, route: Route) -> None:
        """Add or replace a hostname's route."""
        ...

    async def remove(self, hostname: str) -> None:
        """Take a hostname's route away; nothing happens if there is none."""
        ...

    async def replace_all(self, routes: Iterable[Route], mark: str) -> None:
        """Make these the only routes, and leave a mark by which they are known."""
        ...


@dataclass(frozen=True, kw_only=True)
class SiteAddress:
    """Where sites are: `scheme://NAME.domain:port/`, as visitors see it."""

    domain: str
    port: int
    scheme: str = "http"


class SitePublisher:
    """Core's `Publisher`, and what brings the routes back."""

    def __init__(
        self, *, releases: Releases, routes: Routes, sites: SiteStore, doors: Doors, address: SiteAddress
    ) -> None:
        self._releases = releases
        self._routes = routes
        self._sites = sites
        self._doors = doors
        self._address = address
        # Row and route change together, in one order: else a restoration could undo a publishing that it overlaps.
        self._switching = asyncio.Lock()

    async def publish_folder(self, tenant_id: TenantId, tar: AsyncIterator[bytes]) -> Published:
        """Check the tar of a folder, keep it as a release, and switch the tenant's site to it at once.

        Errors: `Invalid` with words for the model; `Unavailable`, `NotFound`.
        """
        kept = await self._releases.keep(tenant_id, tar)
        content = StaticSite(release=kept.release)
        url = await self._switch(tenant_id, content, files=kept.files, size_bytes=kept.size_bytes)
        return Published(url=url, content=content, files=kept.files, size_bytes=kept.size_bytes)

    async def publish_port(self, tenant_id: TenantId, port: int) -> Published:
        """Switch the tenant's site to a server on a port in its machine.

        Errors: `Invalid` for a port that is none; `Unavailable`, `NotFound`.
        """
        if not 1 <= port <= 65535:
            raise Invalid(f"{port} is not a port: it must be from 1 to 65535.")
        content = DynamicSite(port=port)
        return Published(url=await self._switch(tenant_id, content), content=content)

    async def restore_routes(self) -> int:
        """Make the router serve what the rows say, and return the number of routes.

        A site that cannot be served (its release is gone, its machine's host is away) is left out and logged; it holds
        up no other. Errors: `Unavailable`.
        """
        async with self._switching:
            # The mark is older than what it marks: then what changes in between is seen, and done again.
            mark = await self._sites.paused()
            found = [await self._route_or_none(site) for site in await self._sites.all_sites()]
            routes = [route for route in found if route is not None]
            await self._routes.replace_all(routes, mark)
            return len(routes)

    async def move(self, tenant_id: TenantId, former_name: str) -> None:
        """Make the router serve a tenant's site under its name of now, and no more under one that it gave up.

        There the wildcard answers then, and the control plane leads on to the new name. Errors: `Unavailable`.
        """
        async with self._switching:
            site = await self._sites.site_of(tenant_id)
            if site is None or (route := await self._route_or_none(site)) is None:
                return
            await self._routes.put(route)
            if site.name != former_name:
                await self._routes.remove(site_hostname(former_name, self._address.domain))

    async def follow(self, tenant_id: TenantId) -> None:
        """Make the router serve what the rows say of one tenant's site, if it has one. Errors: `Unavailable`."""
        async with self._switching:
            site = await self._sites.site_of(tenant_id)
            if site and (route := await self._route_or_none(site)):
                await self._routes.put(route)

    async def _switch(self, tenant_id: TenantId, content: SiteContent, *, files: int = 0, size_bytes: int = 0) -> str:
        async with self._switching:
            site = Site(tenant_id=tenant_id, name=await self._sites.name_of(tenant_id), content=content)
            hostname = site_hostname(site.name, self._address.domain)
            # A door is opened before the row names it; a release is switched to, which visitors see, after.
            door = await self._route(site) if isinstance(content, DynamicSite) else None
            await self._sites.publish(tenant_id, content, files=files, size_bytes=size_bytes)
            await self._put(door or await self._route(site))
        return site_url(hostname, port=self._address.port, scheme=self._address.scheme)

    async def _put(self, route: Route) -> None:
        try:
            await self._routes.put(route)
        except Unavailable as error:
            public = "The site is saved, but the web server does not answer right now. It will show once that is back."
            raise Unavailable(public, internal=error.internal) from error

    async def _route(self, site: Site) -> Route:
        hostname = site_hostname(site.name, self._address.domain)
        if site.is_paused:
            return PausedRoute(hostname=hostname)
        if isinstance(site.content, StaticSite):
            folder = await self._releases.switch(site.tenant_id, site.content.release)
            return FolderRoute(hostname=hostname, folder=folder)
        return SocketRoute(hostname=hostname, address=await self._doors.forward(site.tenant_id, site.content.port))

    async def _route_or_none(self, site: Site) -> Route | None:
        try:
            return await self._route(site)
        except SubclawError as error:
            _log.error("tenant %d: its site has no route: %s", site.tenant_id, error.internal)
            return None
