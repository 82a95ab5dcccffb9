"""What the channels of this box are given."""

from subclaw.app.addresses import public_url
from subclaw.channels.kind import Outside
from subclaw.config import Settings
from subclaw.core.channel import HeardLately, Intake, LastHeard
from subclaw.home import Home


def outside(settings: Settings, port: int, intake: Intake, last_heard: LastHeard, heard_lately: HeardLately) -> Outside:
    """Return what channels make their calls by."""
    return Outside(
        gateway_socket=Home(settings.home).egress_socket,
        public_url=reachable_url(settings, port),
        intake=intake,
        last_heard=last_heard,
        heard_lately=heard_lately,
    )


def reachable_url(settings: Settings, port: int) -> str | None:
    """Return where providers call us; None if they cannot reach this host by name."""
    if not settings.public_url and settings.domain.rpartition(".")[2] == "localhost":
        return None
    return public_url(settings, port).rstrip("/")
