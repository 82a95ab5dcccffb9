"""What the channels of this box are given."""

from functools import partial

from subclaw.app.addresses import public_url
from subclaw.channels.kind import Outside
from subclaw.config import Settings
from subclaw.core.channel import Intake
from subclaw.home import Home
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.heard import heard_lately, last_heard
from subclaw.store.keeping import StoreKeeping


def outside(settings: Settings, port: int, intake: Intake, database: Database, address: DatabaseAddress) -> Outside:
    """Return what channels make their calls by."""
    return Outside(
        gateway_socket=Home(settings.home).egress_socket,
        public_url=reachable_url(settings, port),
        intake=intake,
        last_heard=partial(last_heard, database),
        heard_lately=partial(heard_lately, database),
        keeping=partial(StoreKeeping, database, address),
    )


def reachable_url(settings: Settings, port: int) -> str | None:
    """Return where providers call us; None if they cannot reach this host by name."""
    if not settings.public_url and settings.domain.rpartition(".")[2] == "localhost":
        return None
    return public_url(settings, port).rstrip("/")
