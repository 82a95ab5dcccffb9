"""Sites: what each tenant's hostname serves."""

from subclaw.core.errors import NotFound
from subclaw.core.site import DynamicSite, Site, SiteContent, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database


async def tenant_name(database: Database, tenant_id: TenantId) -> str:
    """Return the tenant's name, which is the first label of its hostname. Errors: `NotFound`."""
    ((name,),) = await database.rows("SELECT tenant_name(%s)", tenant_id)
    if name is None:
        raise NotFound("There is no such tenant.")
    return str(name)


async def set_site(database: Database, tenant_id: TenantId, content: SiteContent) -> None:
    """Say what a tenant's hostname serves from now on."""
    release, port = (content.release, None) if isinstance(content, StaticSite) else (None, content.port)
    await database.rows("SELECT set_site(%s, %s, %s)", tenant_id, release, port)


async def all_sites(operator: Database) -> tuple[Site, ...]:
    """Return the sites of all tenants, for the router. The database is open in the operator's role."""
    rows = await operator.rows(
        "SELECT s.tenant_id, t.name, s.release, s.port FROM site s JOIN tenant t ON t.id = s.tenant_id ORDER BY t.name"
    )
    return tuple(
        Site(
            tenant_id=TenantId(tenant_id),
            name=name,
            content=StaticSite(release=release) if port is None else DynamicSite(port=port),
        )
        for tenant_id, name, release, port in rows
    )
