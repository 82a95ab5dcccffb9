"""What the HTTP API of this box is given."""

from subclaw.api.receipt_key import receipt_key
from subclaw.api.v1.inside import Inside
from subclaw.app.addresses import public_url
from subclaw.channels.registry import goes_out
from subclaw.config import Settings
from subclaw.core.agent import AgentSettings
from subclaw.core.tenant import TenantId
from subclaw.egress.keys import read_public_key
from subclaw.home import Home
from subclaw.machines.host_client import HostClient
from subclaw.routes.releases import Releases
from subclaw.store.database import Database
from subclaw.store.feed import StoreFeed
from subclaw.store.live import LiveFeed
from subclaw.turns.intake import StoreIntake


def api_inside(
    settings: Settings,
    port: int,
    agent: AgentSettings,
    database: Database,
    operator: Database,
    feed: StoreFeed,
    live: LiveFeed,
    machines: HostClient,
) -> Inside:
    """Return what the API is given. Nobody is received here: who writes is known to the agent's owner."""
    home = Home(settings.home)

    async def destroy_machine(tenant_id: TenantId) -> bool:
        if not await operator.rows("SELECT FROM machine WHERE tenant_id = %s", tenant_id):
            return False
        await machines.destroy(tenant_id)
        return True

    return Inside(
        database=database,
        operator=operator,
        feed=feed,
        live=live,
        intake=StoreIntake(database, sends=goes_out, public_url=public_url(settings, port), limits=agent.limits),
        seal_to=read_public_key(home.keys),
        receipts=receipt_key(home.api_keys),
        destroy_machine=destroy_machine,
        remove_files=Releases(home.releases).erase,
    )
