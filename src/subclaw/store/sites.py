"""Sites: what each tenant's hostname serves."""

import hashlib
from collections.abc import Sequence

from subclaw.core.errors import Denied, NotFound
from subclaw.core.site import DynamicSite, Site, SiteContent, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.suspension import SUSPENDED

_ALL = """
    SELECT s.tenant_id, t.name, s.release, s.port, t.suspended_at IS NOT NULL
    FROM site s JOIN tenant t ON t.id = s.tenant_id ORDER BY t.name
"""
_ONE = """
    SELECT s.tenant_id, t.name, s.release, s.port, t.suspended_at IS NOT NULL
    FROM site s JOIN tenant t ON t.id = s.tenant_id WHERE t.id = %s
"""
_PAUSED = """
    SELECT t.id FROM tenant t JOIN site s ON s.tenant_id = t.id WHERE t.suspended_at IS NOT NULL ORDER BY t.id
"""


class StoreSites:
    """The rows of sites. One database is open in the tenants' role, the other in the operator's."""

    def __init__(self, database: Database, operator: Database) -> None:
        self._database = database
        self._operator = operator

    async def name_of(self, tenant_id: TenantId) -> str:
        """See `routes.publisher.SiteStore.name_of`."""
        ((name, is_suspended),) = await self._database.rows(
            "SELECT tenant_name(%s), is_suspended(%s)", tenant_id, tenant_id
        )
        if name is None:
            raise NotFound("There is no such tenant.")
        if is_suspended:
            raise Denied(SUSPENDED)
        return str(name)

    async def set_content(self, tenant_id: TenantId, content: SiteContent) -> None:
        """Say what a tenant's hostname serves from now on. Errors: `Unavailable`."""
        release, port = (content.release, None) if isinstance(content, StaticSite) else (None, content.port)
        await self._database.rows("SELECT set_site(%s, %s, %s)", tenant_id, release, port)

    async def all_sites(self) -> Sequence[Site]:
        """Return the sites of all tenants, for the router. Errors: `Unavailable`."""
        return [_site(*row) for row in await self._operator.rows(_ALL)]

    async def site_of(self, tenant_id: TenantId) -> Site | None:
        """Return a tenant's site, if it has one. Errors: `Unavailable`."""
        return next((_site(*row) for row in await self._operator.rows(_ONE, tenant_id)), None)

    async def paused(self) -> str:
        """See `routes.publisher.SiteStore.paused`."""
        ids = ",".join(str(id) for (id,) in await self._operator.rows(_PAUSED))
        return hashlib.sha256(ids.encode()).hexdigest() if ids else ""


def _site(tenant_id: int, name: str, release: str, port: int | None, is_paused: bool) -> Site:
    content = StaticSite(release=release) if port is None else DynamicSite(port=port)
    return Site(tenant_id=TenantId(tenant_id), name=name, content=content, is_paused=is_paused)
