"""A route: what the router does with a request for a hostname. Inward; the way out is egress."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from subclaw.core.site import SiteContent
from subclaw.core.tenant import TenantId


@dataclass(frozen=True, kw_only=True)
class Route:
    """What a hostname serves: the files of a folder on this host, or what answers at a unix socket, its door.

    With both the door answers, and the folder is there for when it may not. `door` is in Caddy's notation:
    `unix//run/1-80.sock`. A route that `is_paused` is a plain page; one that `is_private` is served to those whom the
    control plane lets in.
    """

    hostname: str
    folder: Path | None = None
    door: str = ""
    is_paused: bool = False
    is_private: bool = False


@dataclass(frozen=True, kw_only=True)
class Published:
    """What came of publishing: the address that visitors use, and what it now serves."""

    url: str
    content: SiteContent
    files: int = 0
    size_bytes: int = 0


class Publisher(Protocol):
    """What the tool `publish_site` needs of the router."""

    async def publish_folder(self, tenant_id: TenantId, tar: AsyncIterator[bytes]) -> Published:
        """Check the tar of a folder, keep it as a release, and switch the tenant's site to it at once.

        Errors: `Invalid` with words for the model (no index.html, too large, a link out of the folder, …).
        """
        ...

    async def publish_port(self, tenant_id: TenantId, port: int) -> Published:
        """Switch the tenant's site to a server on a port in its machine."""
        ...
