"""Keeps the router in step with the rows of sites, whoever changes them: a tool, a person's word, the operator."""

from typing import Protocol

from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress, Role, connect
from subclaw.store.notify import Topic, listen, notifications


class Follows(Protocol):
    """What is kept in step: `SitePublisher`."""

    async def restore_routes(self) -> int:
        """Serve what the rows say of all sites."""
        ...

    async def follow(self, tenant_id: TenantId) -> None:
        """Serve what the rows say of one tenant's site."""
        ...


async def keep_following(address: DatabaseAddress, publisher: Follows) -> None:
    """Serve what the rows say, all of it at first and then what changes, until cancelled.

    Errors: `Unavailable` if the database is lost.
    """
    async with await connect(address, Role.APP) as session:
        await listen(session, Topic.SITE)
        await publisher.restore_routes()
        async for notification in notifications(session):
            await publisher.follow(TenantId(int(notification.payload)))
