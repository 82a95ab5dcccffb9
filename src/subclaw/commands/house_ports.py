"""What the commands about houses need of a box: the mirror of houses, the host of machines, reminders."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from subclaw.app.addresses import database_address
from subclaw.config import Settings
from subclaw.core.house import StoredFile
from subclaw.core.schedule import Schedules
from subclaw.core.tenant import TenantId
from subclaw.harness.defaults import default_files
from subclaw.home import Home, require_running
from subclaw.machines.host_client import HostClient
from subclaw.store.database import Role, open_database
from subclaw.store.house import read_house
from subclaw.store.schedules import StoreSchedules


class WritesHouse(Protocol):
    """The host of machines, as far as houses are concerned."""

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Write a file of a house, or remove it (None), and wake nothing. Errors: `Exhausted`, `Unavailable`."""
        ...


class Archives(Protocol):
    """The host of machines, as far as a copy of a machine's folders is concerned."""

    def archive(self, tenant_id: TenantId, path: str, *, limit_bytes: int) -> AsyncIterator[bytes]:
        """See `core.machine.Machines`."""
        ...


@dataclass(frozen=True, kw_only=True)
class HousePorts:
    """See the module. `read` returns what the mirror has of a house; `defaults` are the files that all begin with."""

    read: Callable[[TenantId], Awaitable[Sequence[StoredFile]]]
    host: WritesHouse
    machines: Archives
    reminders: Schedules
    defaults: Mapping[str, bytes]


@asynccontextmanager
async def open_house_ports(settings: Settings) -> AsyncIterator[HousePorts]:
    """Open them on the box that runs, for the life of the block. Errors: `Unavailable`, `Denied`."""
    home = Home(settings.home)
    require_running(home)
    async with (
        open_database(database_address(settings), Role.APP, size=1) as database,
        HostClient(home.host_socket) as host,
    ):
        yield HousePorts(
            read=partial(read_house, database),
            host=host,
            machines=host,
            reminders=StoreSchedules(database),
            defaults=default_files(),
        )
