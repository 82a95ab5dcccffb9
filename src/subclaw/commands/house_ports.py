"""What the commands about houses need of a box: the mirror of houses, the host of machines, reminders."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Protocol, cast

from subclaw.app.addresses import database_address
from subclaw.config import Settings
from subclaw.core.schedule import Schedules
from subclaw.core.tenant import TenantId
from subclaw.harness.imports.texts import default_files
from subclaw.home import Home, require_running
from subclaw.machines.host_client import HostClient
from subclaw.store.database import Role, open_database
from subclaw.store.schedules import StoreSchedules


class MirroredFile(Protocol):
    """A file of a house as the mirror has it. See `core.house`."""

    @property
    def path(self) -> str:
        """Where it is in the house."""
        ...

    @property
    def content(self) -> bytes | None:
        """What is in it; None if it was removed or, with a problem, cannot be used."""
        ...

    @property
    def problem(self) -> str:
        """Why it cannot be used, in words; empty if it can."""
        ...

    @property
    def served(self) -> bytes | None:
        """The last content that could be used."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether it is still to be put into the machine."""
        ...


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

    read: Callable[[TenantId], Awaitable[Sequence[MirroredFile]]]
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
            read=partial(import_module("subclaw.store.house").read_house, database),
            host=cast(WritesHouse, host),
            machines=host,
            reminders=StoreSchedules(database),
            defaults=default_files(),
        )
