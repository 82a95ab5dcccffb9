"""A site: what visitors of a tenant's hostname get."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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
    """A tenant's site. `name` is the first label of its hostname; `custom_hostnames` are verified ones of its own.

    One that is paused, since its tenant is suspended or the operator took it down, is not shown; one that is private
    is shown to those whom the control plane lets in.
    """

    tenant_id: TenantId
    name: str
    content: SiteContent
    custom_hostnames: tuple[str, ...] = ()
    is_paused: bool = False
    is_private: bool = False


VERSIONS_KEPT = 10
"""How many versions of a site are kept, the one that is served among them."""


@dataclass(frozen=True, kw_only=True)
class SiteVersion:
    """What a site was made by one publishing. `files` and `size_bytes` are 0 for a server in the machine."""

    number: int
    content: SiteContent
    files: int
    size_bytes: int
    published_at: datetime
    is_served: bool


class SiteHistory(Protocol):
    """The versions of tenants' sites. A change is seen by visitors a moment later."""

    async def versions(self, tenant_id: TenantId) -> Sequence[SiteVersion]:
        """Return those that are kept, the newest first; none if there is no site. Errors: `Unavailable`."""
        ...

    async def go_to(self, tenant_id: TenantId, number: int) -> bool:
        """Serve a version again; false if it is not kept. Errors: `Unavailable`."""
        ...

    async def undo(self, tenant_id: TenantId) -> int | None:
        """Serve what was served before the present version, and return its number, or None. Errors: `Unavailable`."""
        ...

    async def redo(self, tenant_id: TenantId) -> int | None:
        """Serve what was last published upon the present version; the number, or None. Errors: `Unavailable`."""
        ...


@dataclass(frozen=True, kw_only=True)
class SiteChanges:
    """What the router does not know yet. With `mark` it says what it knows then.

    If they `are_all`, `sites` has every site there is, and what is not among them is gone.
    """

    mark: str
    sites: Sequence[Site]
    are_all: bool
