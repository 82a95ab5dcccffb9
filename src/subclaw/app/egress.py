"""The egress gateway's processes."""

import functools
from dataclasses import replace

from subclaw.accounts import CONTROL_USER, EGRESS_USER, group_id
from subclaw.app.addresses import database_address
from subclaw.config import Settings
from subclaw.core.mail_relay import MailRelay
from subclaw.egress.gateway import EgressSettings, ForControl, ForMachines, serve_egress
from subclaw.egress.starter import starter_rules
from subclaw.home import Home
from subclaw.store.account_book import StoreAccountBook
from subclaw.store.database import Role, open_database
from subclaw.store.egress_book import StoreEgressBook
from subclaw.store.secrets import load_secrets

POOL_SIZE = 2
HOST_USER_ID = 0
"""The machine host runs as root."""


async def run_egress(settings: Settings, number: int) -> None:
    """Run one of the egress gateway's processes, until cancelled. The first of them serves the control plane too."""
    home, address = Home(settings.home), database_address(settings)
    async with open_database(address, Role.EGRESS, size=POOL_SIZE) as database:
        control = ForControl(
            socket_path=home.egress_socket,
            socket_gid=group_id(CONTROL_USER),
            upstreams=settings.upstreams,
            load_secrets=functools.partial(load_secrets, database),
            relays=tuple(_as_kept(relay, home) for relay in settings.relays),
            signatures={scheme: signed for one in settings.channels for scheme, signed in one.signatures.items()},
        )
        machines = ForMachines(
            socket_path=home.egress_machine_sockets(settings.egress_processes)[number],
            socket_gid=group_id(EGRESS_USER),
            host_user=HOST_USER_ID,
            book=StoreEgressBook(database, address),
            starter=starter_rules(),
            name_servers=settings.name_servers,
            completions_socket=home.completions_socket,
        )
        await serve_egress(
            EgressSettings(
                key_folder=home.keys,
                control=None if number else control,
                machines=machines,
                accounts=StoreAccountBook(database),
                authorities=settings.authorities,
            )
        )


def _as_kept(relay: MailRelay, home: Home) -> MailRelay:
    """Return a relay with the copy of its authorities: what the operator named may be for root alone."""
    return replace(relay, authorities=home.relay_authorities(relay.name)) if relay.authorities else relay
