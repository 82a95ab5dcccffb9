"""What the HTTP API of this box is given."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from subclaw.api.receipt_key import receipt_key
from subclaw.api.v1.inside import Inside
from subclaw.app.addresses import public_url
from subclaw.config import Settings
from subclaw.core.channel import Intake
from subclaw.core.machine import HOME
from subclaw.core.tenant import TenantId
from subclaw.egress.keys import read_public_key
from subclaw.home import Home
from subclaw.machines.host_client import HostClient
from subclaw.machines.limits import ARCHIVE_LIMIT_BYTES
from subclaw.routes.releases import Releases
from subclaw.store.database import Database
from subclaw.store.feed import StoreFeed
from subclaw.store.live import LiveFeed
from subclaw.turns.accounts import AccountLinks


def api_inside(
    settings: Settings,
    port: int,
    intake: Intake,
    database: Database,
    operator: Database,
    feed: StoreFeed,
    live: LiveFeed,
    machines: HostClient,
) -> Inside:
    """Return what the API is given. `intake` receives nobody: who writes is known to the agent's owner."""
    home, url = Home(settings.home), public_url(settings, port)
    links = AccountLinks(database=database, public_key=read_public_key(home.keys), site_url=lambda name: url)

    async def has_machine(tenant_id: TenantId) -> bool:
        return bool(await operator.rows("SELECT FROM machine WHERE tenant_id = %s", tenant_id))

    async def destroy_machine(tenant_id: TenantId) -> bool:
        if not await has_machine(tenant_id):
            return False
        await machines.destroy(tenant_id)
        return True

    async def machine_files(tenant_id: TenantId) -> AsyncGenerator[bytes, None]:
        if await has_machine(tenant_id):
            async with aclosing(machines.archive(tenant_id, HOME, limit_bytes=ARCHIVE_LIMIT_BYTES)) as pieces:
                async for piece in pieces:
                    yield piece

    return Inside(
        database=database,
        operator=operator,
        feed=feed,
        live=live,
        intake=intake,
        seal_to=read_public_key(home.keys),
        receipts=receipt_key(home.api_keys),
        destroy_machine=destroy_machine,
        machine_files=machine_files,
        start_account=links.start,
        remove_files=Releases(home.releases).erase,
    )
