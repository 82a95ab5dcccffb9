"""A site: what visitors of a tenant's hostname get."""

from dataclasses import dataclass

from subclaw.core.tenant import TenantId


@dataclass(frozen=True, kw_only=True)
class StaticSite:
    """A published folder, served from the host while the machine sleeps. `release` is the digest of its content."""

    release: str


@dataclass(frozen=True, kw_only=True)
class DynamicSite:
    """A server on a port in the tenant's machine, woken by a visit."""

    port: int


SiteContent = StaticSite | DynamicSite


@dataclass(frozen=True, kw_only=True)
class Site:
    """A tenant's site. `name` is the first label of its hostname. One that is paused is not shown."""

    tenant_id: TenantId
    name: str
    content: SiteContent
    is_paused: bool = False
