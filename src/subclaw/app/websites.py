"""Tenants' websites: who publishes them, and under which hostnames."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from subclaw.app.addresses import site_address
from subclaw.app.surroundings import Surroundings
from subclaw.core.tenant import TenantId
from subclaw.routes.domains import SiteDomains
from subclaw.routes.folders import FolderRoutes
from subclaw.routes.publisher import SiteAddress, SitePublisher
from subclaw.routes.records import DnsRecords
from subclaw.routes.releases import Releases
from subclaw.store.domains import StoreDomains
from subclaw.store.sites import StoreSites


@dataclass(frozen=True, kw_only=True)
class Websites:
    """What publishes sites, what keeps tenants' own domains, and where sites are."""

    publisher: SitePublisher
    domains: SiteDomains
    address: SiteAddress

    async def url_of_tenant(self, tenant_id: TenantId) -> str:
        """Return the address of a tenant's site, with a slash at its end. Errors: `NotFound`, `Unavailable`."""
        return self.address.url_of(await self.publisher.name_of(tenant_id))


@asynccontextmanager
async def open_websites(around: Surroundings) -> AsyncIterator[Websites]:
    """Give what serves tenants' websites, for the block."""
    settings, home, address = around.settings, around.home, site_address(around.settings, around.port)
    publisher = SitePublisher(
        releases=Releases(home.releases),
        routes=FolderRoutes(home.sites, doors=home.doors),
        sites=StoreSites(around.database, around.operator),
        doors=around.machines,
        address=address,
    )
    records = DnsRecords(settings.name_servers)
    domains = SiteDomains(
        store=StoreDomains(around.database),
        records=records,
        publisher=publisher,
        domain=settings.domain,
        sites_domain=settings.sites_domain,
    )
    try:
        yield Websites(publisher=publisher, domains=domains, address=address)
    finally:
        await records.close()
