"""Sites: what each tenant's hostname serves."""

from collections.abc import Sequence
from datetime import datetime

from subclaw.core.errors import Denied, NotFound
from subclaw.core.site import VERSIONS_KEPT, DynamicSite, Site, SiteChanges, SiteContent, SiteVersion, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.store.database import Connection, Database
from subclaw.store.suspension import SUSPENDED

_PUBLISHED = """
    SELECT t.name, s.version, CASE WHEN s.port IS NULL THEN 'folder' ELSE 'port ' || s.port END, v.files, v.size_bytes,
        to_char(s.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'),
        coalesce(to_char(s.taken_down_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), '')
    FROM site s JOIN tenant t ON t.id = s.tenant_id
        JOIN site_version v ON (v.tenant_id, v.number) = (s.tenant_id, s.version)
    WHERE s.taken_down_at IS NOT NULL OR NOT %s ORDER BY s.updated_at DESC, t.id LIMIT %s
"""
_MAY_PUBLISH = "SELECT tenant_name(%s), is_suspended(%s), site_is_down(%s)"
TAKEN_DOWN = "Whoever runs this has taken the site down."
_SITES = """
    SELECT s.tenant_id, t.name, s.release, s.port, coalesce(t.suspended_at, s.taken_down_at) IS NOT NULL,
        EXISTS (SELECT FROM private_site p WHERE p.tenant_id = s.tenant_id),
        ARRAY(SELECT d.hostname FROM site_domain d
              WHERE d.tenant_id = s.tenant_id AND d.verified_at IS NOT NULL ORDER BY d.hostname)
    FROM site s JOIN tenant t ON t.id = s.tenant_id
"""
_SINCE = f"{_SITES} WHERE s.generation > %s ORDER BY s.generation"
_ONE = f"{_SITES} WHERE t.id = %s"


class StoreSites:
    """The rows of sites. One database is open in the tenants' role, the other in the operator's."""

    def __init__(self, database: Database, operator: Database) -> None:
        self._database = database
        self._operator = operator

    async def name_of(self, tenant_id: TenantId) -> str:
        """See `routes.publisher.SiteStore.name_of`."""
        ((name, is_suspended, is_down),) = await self._database.rows(_MAY_PUBLISH, *[tenant_id] * 3)
        if name is None:
            raise NotFound("There is no such tenant.")
        if is_suspended:
            raise Denied(SUSPENDED)
        if is_down:
            raise Denied(TAKEN_DOWN)
        return str(name)

    async def publish(self, tenant_id: TenantId, content: SiteContent, *, files: int = 0, size_bytes: int = 0) -> None:
        """See `routes.publisher.SiteStore.publish`."""
        values = *_columns(content), files, size_bytes, VERSIONS_KEPT
        await self._database.rows("SELECT publish_version(%s, %s, %s, %s, %s, %s)", tenant_id, *values)

    async def port_answers(self, tenant_id: TenantId, port: int) -> None:
        """See `routes.publisher.SiteStore.port_answers`."""
        await self._database.rows("SELECT port_answers(%s, %s)", tenant_id, port)

    async def changes(self, mark: str) -> SiteChanges:
        """See `routes.publisher.SiteStore.changes`. A mark is the generation of the rows that routes were made of.

        It is read before them: what changes in between is seen again.
        """
        ((generation, whole),) = await self._operator.rows("SELECT generation, whole FROM site_generation")
        known = int(mark) if mark.isdecimal() else -1
        if known == generation:
            return SiteChanges(mark=mark, sites=[], are_all=False)
        are_all = not whole <= known <= generation
        sites = [_site(*row) for row in await self._operator.rows(_SINCE, -1 if are_all else known)]
        return SiteChanges(mark=str(generation), sites=sites, are_all=are_all)

    async def site_of(self, tenant_id: TenantId) -> Site | None:
        """Return a tenant's site, if it has one. Errors: `Unavailable`."""
        return next((_site(*row) for row in await self._operator.rows(_ONE, tenant_id)), None)


class StoreSiteHistory:
    """See `core.site.SiteHistory`. The database is open in the tenants' role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def versions(self, tenant_id: TenantId) -> Sequence[SiteVersion]:
        """See `SiteHistory.versions`."""
        async with self._database.transaction() as connection:
            return await read_versions(connection, tenant_id)

    async def go_to(self, tenant_id: TenantId, number: int) -> bool:
        """See `SiteHistory.go_to`."""
        async with self._database.transaction() as connection:
            return await _go(connection, tenant_id, number, 0) is not None

    async def undo(self, tenant_id: TenantId) -> int | None:
        """See `SiteHistory.undo`."""
        async with self._database.transaction() as connection:
            return await go_by_step(connection, tenant_id, -1)

    async def redo(self, tenant_id: TenantId) -> int | None:
        """See `SiteHistory.redo`."""
        async with self._database.transaction() as connection:
            return await go_by_step(connection, tenant_id, 1)


async def read_versions(connection: Connection, tenant_id: TenantId) -> Sequence[SiteVersion]:
    """Return the kept versions of a tenant's site, the newest first, in a transaction."""
    cursor = await connection.execute("SELECT * FROM site_versions(%s)", [tenant_id])
    return [_version(*row) for row in await cursor.fetchall()]


async def go_by_step(connection: Connection, tenant_id: TenantId, step: int) -> int | None:
    """Serve the version before the present one (-1) or after it (1), in a transaction; return its number, or None."""
    return await _go(connection, tenant_id, None, step)


async def published_lately(connection: Connection, tenant_id: TenantId) -> bool:
    """Say, in a transaction, whether what is served was published since the person wrote last."""
    cursor = await connection.execute("SELECT published_lately(%s)", [tenant_id])
    return bool((await cursor.fetchall())[0][0])


async def _go(connection: Connection, tenant_id: TenantId, number: int | None, step: int) -> int | None:
    cursor = await connection.execute("SELECT go_to_version(%s, %s, %s)", [tenant_id, number, step])
    ((reached,),) = await cursor.fetchall()
    return None if reached is None else int(reached)


async def list_published(operator: Database, *, limit: int, only_down: bool) -> list[dict[str, object]]:
    """Return sites for the operator, the one that was changed last first. Errors: `Unavailable`."""
    names = "tenant", "version", "served", "files", "bytes", "changed_at", "taken_down_at"
    return [dict(zip(names, row, strict=True)) for row in await operator.rows(_PUBLISHED, only_down, limit)]


async def take_down(operator: Database, name: str) -> None:
    """Take a tenant's site down. Errors: `NotFound`, `Unavailable`."""
    await _set_down(operator, name, is_down=True)


async def put_back(operator: Database, name: str) -> None:
    """Let a site be seen again that was taken down. Errors: `NotFound`, `Unavailable`."""
    await _set_down(operator, name, is_down=False)


async def _set_down(operator: Database, name: str, *, is_down: bool) -> None:
    ((there,),) = await operator.rows("SELECT take_site_down(%s, %s)", name, is_down)
    if not there:
        raise NotFound(f"There is no site of a tenant {name}.")


def _columns(content: SiteContent) -> tuple[str | None, int | None]:
    return (content.release, None) if isinstance(content, StaticSite) else (None, content.port)


def _content(release: str | None, port: int | None) -> SiteContent:
    return DynamicSite(port=port) if port is not None else StaticSite(release=release or "")


def _version(
    number: int,
    release: str | None,
    port: int | None,
    files: int,
    size_bytes: int,
    published_at: datetime,
    is_served: bool,
) -> SiteVersion:
    return SiteVersion(
        number=number,
        content=_content(release, port),
        files=files,
        size_bytes=size_bytes,
        published_at=published_at,
        is_served=is_served,
    )


def _site(
    tenant_id: int,
    name: str,
    release: str | None,
    port: int | None,
    is_paused: bool,
    is_private: bool,
    hostnames: Sequence[str],
) -> Site:
    return Site(
        tenant_id=TenantId(tenant_id),
        name=name,
        content=_content(release, port),
        custom_hostnames=tuple(hostnames),
        is_paused=is_paused,
        is_private=is_private,
    )
