"""What the worker finds around it: what the operator set, the state folder, the database, the host, the gateway."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from subclaw.agent_file import read_agent
from subclaw.app.addresses import database_address
from subclaw.config import Settings
from subclaw.core.agent import AgentSettings
from subclaw.egress.control.client import gateway_client
from subclaw.home import Home
from subclaw.machines.host_client import HostClient
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.secrets import placeholders
from subclaw.tools.commands import Placeholders

BUSY_S = 60.0
"""How long a worker waits for a free connection: thousands of turns share few, and whoever gives up loses a step."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What nearly every part of the worker needs something of.

    `port` is the router's. The database is open in the application's role, and beside it as `operator`: for what no
    tenant's rows say. `placeholders` are what a tenant's commands have in place of secrets.
    """

    settings: Settings
    port: int
    home: Home
    agent: AgentSettings
    address: DatabaseAddress
    database: Database
    operator: Database
    machines: HostClient
    gateway: httpx2.AsyncClient
    placeholders: Placeholders


@asynccontextmanager
async def find_surroundings(settings: Settings, port: int, *, calls_at_once: int) -> AsyncIterator[Surroundings]:
    """Connect with what is around, for the block. The gateway is called so many times at once."""
    home, address = Home(settings.home), database_address(settings)
    async with (
        open_database(address, Role.APP, wait_s=BUSY_S) as database,
        open_database(address, Role.OPERATOR, size=1) as operator,
        HostClient(home.host_socket) as machines,
        gateway_client(home.egress_socket, connections=calls_at_once) as gateway,
    ):
        yield Surroundings(
            settings=settings,
            port=port,
            home=home,
            agent=read_agent(home.agent_file),
            address=address,
            database=database,
            operator=operator,
            machines=machines,
            gateway=gateway,
            placeholders=functools.partial(placeholders, database),
        )
