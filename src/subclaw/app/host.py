"""The machine host."""

from subclaw.accounts import CADDY_USER, CONTROL_USER, group_id
from subclaw.app.addresses import database_address
from subclaw.config import Settings
from subclaw.egress.process import room_for_connections
from subclaw.harness.defaults import default_files
from subclaw.home import Home
from subclaw.host_name import host_name
from subclaw.machines.host import HostSettings, serve_host
from subclaw.machines.images.image import current_image
from subclaw.machines.workshop import FleetSettings
from subclaw.store.database import Role, open_database
from subclaw.store.house import StoreMirror
from subclaw.store.machines import StoreMachineLedger

POOL_SIZE = 2
VISITS_AT_ONCE = 8_192
"""For how many connections of visitors there is room, of all tenants."""


async def run_host(settings: Settings) -> None:
    """Run the machines of this box, until cancelled."""
    room_for_connections(VISITS_AT_ONCE)
    home = Home(settings.home)
    async with open_database(database_address(settings), Role.HOST, size=POOL_SIZE) as database:
        await serve_host(
            HostSettings(
                fleet=FleetSettings(
                    home=home.path,
                    cache=settings.cache,
                    image=current_image(settings.cache),
                    ledger=StoreMachineLedger(database, host_name(home)),
                    mirror=StoreMirror(database),
                    defaults=default_files(),
                    forward_folder=home.doors,
                    forward_group_id=group_id(CADDY_USER),
                    pool_size=settings.pool_size,
                    visit_limits=settings.visit_limits,
                    egress_sockets=home.egress_machine_sockets(settings.egress_processes),
                ),
                socket=home.host_socket,
                socket_group_id=group_id(CONTROL_USER),
            )
        )
