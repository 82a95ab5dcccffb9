"""Publishing: a tenant's folder or port becomes what visitors of its hostname get.

Always in this order: the release is on disk, the row says so, the router follows. Killed between any two of these, the
rows say what should be there, and `following.py` makes it so.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.core.machine import PortTrial
from subclaw.core.route import Published, Route
from subclaw.core.site import DynamicSite, Site, SiteChanges, SiteContent, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.routes.hostname import site_hostname, site_url
from subclaw.routes.preview import Previews, require_answer
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

    async def port_answers(self, tenant_id: TenantId, port: int) -> None:
        """Forget that versions on this port have failed. Errors: `Unavailable`."""
        ...

    async def changes(self, mark: str) -> SiteChanges:
        """Return which sites changed since the routes of a mark were made. Errors: `Unavailable`."""
        ...

    async def site_of(self, tenant_id: TenantId) -> Site | None:
        """Return a tenant's site, if it has one. Errors: `Unavailable`."""
        ...


class Doors(Protocol):
    """The ways into machines: `Machines`."""

    async def forward(self, tenant_id: TenantId, port: int) -> str:
        """Return an address in Caddy's notation; a connection to it wakes the machine and reaches the port inside."""
        ...

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        """Ask the program on a port inside for its first page, as a visitor of a hostname; wait for it for a while."""
        ...


class Routes(Protocol):
    """The router: `FolderRoutes`."""

    async def put(self, route: Route) -> None:
        """Add or replace a hostname's route."""
        ...

    async def remove(self, hostname: str) -> None:
        """Take a hostname's route away; nothing happens if there is none."""
        ...

    async def replace_all(self, routes: Iterable[Route], mark: str) -> None:
        """Make these the only routes, and leave a mark by which they are known."""
        ...

    async def note(self, mark: str) -> None:
        """Leave another mark, once what changed since the last one is put."""
        ...

    async def mark(self) -> str:
        """Return the mark of the routes that are there; empty if there are none."""
        ...


@dataclass(frozen=True, kw_only=True)
class SiteAddress:
    """Where sites are: `scheme://NAME.domain:port/`, as visitors see it."""

    domain: str
    port: int
    scheme: str = "http"

    def url_of(self, name: str) -> str:
        """Return the address of the site of this name, with a slash at its end. Errors: `Invalid` if it is no label."""
        return site_url(site_hostname(name, self.domain), port=self.port, scheme=self.scheme)


class SitePublisher:
    """Core's `Publisher`, and what brings the routes back."""

    def __init__(
        self,
        *,
        releases: Releases,
        routes: Routes,
        sites: SiteStore,
        doors: Doors,
        address: SiteAddress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._releases = releases
        self._routes = routes
        self._sites = sites
        self._doors = doors
        self._address = address
        self._previews = Previews(address.domain, clock)
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
        """Switch the tenant's site to a server on a port in its machine, once it has answered on the preview hostname.

        Errors: `Invalid` for a port that is none, and with words for the model if the server does not answer: then the
        site stays as it was, and the preview as well; `Unavailable`, `NotFound`.
        """
        if not 1 <= port <= 65535:
            raise Invalid(f"{port} is not a port: it must be from 1 to 65535.")
        await self._sites.name_of(tenant_id)  # who may not publish opens no door
        hostname = await self._preview(tenant_id, await self._doors.forward(tenant_id, port))
        require_answer(await self._doors.try_port(tenant_id, port, hostname), port, hostname)
        content = DynamicSite(port=port)
        url = await self._switch(tenant_id, content)
        await self._sites.port_answers(tenant_id, port)
        async with self._switching:
            await self._end_preview(tenant_id)
        return Published(url=url, content=content)

    async def end_previews(self) -> None:
        """Take away the previews that have been there for long enough. Errors: `Unavailable`."""
        if over := self._previews.over():
            async with self._switching:
                for tenant_id in over:
                    await self._end_preview(tenant_id)

    async def _preview(self, tenant_id: TenantId, door: str) -> str:
        async with self._switching:
            name, site = await self._sites.name_of(tenant_id), await self._sites.site_of(tenant_id)
            await self._end_preview(tenant_id)
            hostname = self._previews.begin(tenant_id, name, door)
            if route := self._previews.route(tenant_id, is_private=site is not None and site.is_private):
                await self._routes.put(route)
            return hostname

    async def _end_preview(self, tenant_id: TenantId) -> None:
        if hostname := self._previews.end(tenant_id):
            await self._routes.remove(hostname)

    async def restore_routes(self) -> int:
        """Make the router serve what the rows say, and return the number of routes.

        A site that cannot be served (its release is gone, its machine's host is away) is left out and logged; it holds
        up no other. Errors: `Unavailable`.
        """
        async with self._switching:
            changes = await self._sites.changes("")
            routes = [route for site in changes.sites for route in await self._routes_or_none(site)]
            previews = [route for site in changes.sites if (route := self._preview_of(site))]
            await self._routes.replace_all([*routes, *previews], changes.mark)
            return len(routes)

    async def follow_rows(self) -> None:
        """Make the router serve what the rows say where they changed; all of them if one was taken away.

        Errors: `Unavailable`.
        """
        mark = await self._routes.mark()
        changes = await self._sites.changes(mark)
        if changes.mark == mark:
            return
        if changes.are_all:
            await self.restore_routes()
            return
        for site in changes.sites:
            await self.show(site.tenant_id)
        await self._routes.note(changes.mark)

    async def name_of(self, tenant_id: TenantId) -> str:
        """Return the first label of a tenant's hostname. Errors: `NotFound`, `Denied`, `Unavailable`."""
        return await self._sites.name_of(tenant_id)

    async def show(self, tenant_id: TenantId) -> None:
        """Make the router serve what a tenant's row says, at all its hostnames. Errors: `Unavailable`."""
        async with self._switching:
            site = await self._sites.site_of(tenant_id)
            for route in await self._routes_or_none(site) if site else ():
                await self._routes.put(route)
            if site and site.is_paused:
                await self._end_preview(tenant_id)
            if site and (preview := self._preview_of(site)):
                await self._routes.put(preview)

    async def move(self, tenant_id: TenantId, former_name: str) -> None:
        """Make the router serve a tenant's site under its name of now, and no more under one that it gave up.

        There the wildcard answers then, and the control plane leads on to the new name. Errors: `Unavailable`.
        """
        async with self._switching:
            site = await self._sites.site_of(tenant_id)
            if site is None or not (routes := await self._routes_or_none(site)):
                return
            for route in routes:
                await self._routes.put(route)
            if site.name != former_name:
                await self._end_preview(tenant_id)
                await self._routes.remove(site_hostname(former_name, self._address.domain))

    async def _switch(self, tenant_id: TenantId, content: SiteContent, *, files: int = 0, size_bytes: int = 0) -> str:
        async with self._switching:
            name = await self._sites.name_of(tenant_id)
            site = Site(tenant_id=tenant_id, name=name, content=content)
            # A door is opened before the row names it; a release is switched to, which visitors see, after.
            if isinstance(content, DynamicSite):
                await self._routes_of(site)
            await self._sites.publish(tenant_id, content, files=files, size_bytes=size_bytes)
            for route in await self._routes_of(await self._sites.site_of(tenant_id) or site):
                await self._put(route)
        return self._address.url_of(name)

    def _preview_of(self, site: Site) -> Route | None:
        """Return the route of a site's preview, which is as private as the site is and not there if that is paused."""
        return None if site.is_paused else self._previews.route(site.tenant_id, is_private=site.is_private)

    async def _put(self, route: Route) -> None:
        try:
            await self._routes.put(route)
        except Unavailable as error:
            public = "The site is saved, but cannot be shown yet: the server could not write to its disk."
            raise Unavailable(public, internal=error.internal) from error

    async def _routes_of(self, site: Site) -> Sequence[Route]:
        """Return the routes of a site's hostnames, which all serve the same."""
        folder, door = None, ""
        if isinstance(site.content, StaticSite):
            folder = await self._releases.switch(site.tenant_id, site.content.release)
        elif not site.is_paused:
            door = await self._doors.forward(site.tenant_id, site.content.port)
            folder = await self._releases.last(site.tenant_id)
        hostnames = (site_hostname(site.name, self._address.domain), *site.custom_hostnames)
        return [
            Route(hostname=hostname, folder=folder, door=door, is_paused=site.is_paused, is_private=site.is_private)
            for hostname in hostnames
        ]

    async def _routes_or_none(self, site: Site) -> Sequence[Route]:
        try:
            return await self._routes_of(site)
        except SubclawError as error:
            _log.error("tenant %d: its site has no route: %s", site.tenant_id, error.internal)
            return ()
