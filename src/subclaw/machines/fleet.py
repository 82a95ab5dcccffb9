"""The machines of one host, as `Machines`."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from types import TracebackType

from subclaw.core.errors import Denied, NotFound, Unavailable
from subclaw.core.house import check_house_file
from subclaw.core.machine import (
    Checkpoint,
    Command,
    CommandEnd,
    CommandResult,
    FileSlice,
    MachineStats,
    MachineStatus,
    Output,
    PortTrial,
    SearchResult,
    result_of,
)
from subclaw.core.tenant import TenantId
from subclaw.machines import limits
from subclaw.machines.admission import host_memory_mb, most_awake
from subclaw.machines.awake import AwakeMachines
from subclaw.machines.disks.checkpoints import list_checkpoints, roll_back
from subclaw.machines.disks.disk import erase, folder_of
from subclaw.machines.file_work import in_thread
from subclaw.machines.forward import Forwards
from subclaw.machines.house import UNKNOWN, mirroring
from subclaw.machines.qemu.snapshot import forget_snapshot
from subclaw.machines.tenant_files import described, keep_disk, stats_of
from subclaw.machines.visits.gate import Gate
from subclaw.machines.visits.health import Health
from subclaw.machines.visits.serving import Serving
from subclaw.machines.workshop import FleetSettings, open_workshop

STOP_S = 40.0
NO_COMMANDS = (
    "The command could not be started: something is wrong with the machine's shell, its home folder or its disk. The"
    " next call starts the machine anew."
)

__all__ = ["Fleet", "FleetSettings"]


class Fleet:
    """Implements `Machines` in this process. Use it as an async context manager, in the process's main thread: QEMU
    is told to end with the thread that started it."""

    def __init__(self, settings: FleetSettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Fleet":
        """Take the home folder, end what an earlier host left running, and begin. Raises `Conflict`, `Unavailable`."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            workshop = await stack.enter_async_context(open_workshop(settings))
            limit = settings.awake_limit or most_awake(host_memory_mb(), os.cpu_count() or 1, settings.memory_mb)
            self._machines = AwakeMachines(workshop, limit=limit, queue_s=settings.queue_s)
            stack.push_async_callback(self._machines.close, STOP_S)
            health = Health(workshop.group, settings.ledger.port_troubled)
            self._serving = Serving(self._machines.visited, Gate(self._machines, settings.visit_limits), health)
            folder, group_id = settings.forward_folder, settings.forward_group_id
            self._forwards = Forwards(folder, group_id, workshop.group, self._serving, health)
            stack.push_async_callback(self._forwards.close)
            await self._forwards.reopen()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put every machine to sleep and let the home folder go."""
        await self._stack.aclose()

    async def exec(self, tenant_id: TenantId, command: Command) -> AsyncGenerator[Output | CommandEnd, None]:
        """Run a command and stream its output; see `Machines`."""
        limits.check_command(command)
        async with self._machines.using(tenant_id) as guest, aclosing(guest.exec(command)) as pieces:
            try:
                async for piece in pieces:
                    yield piece
            except (NotFound, Denied, Unavailable) as error:
                # A shell in the home folder can always be started, unless the tenant has broken that.
                await self._machines.renew(tenant_id)
                raise Unavailable(NO_COMMANDS, internal=error.internal) from error

    async def run(self, tenant_id: TenantId, command: Command) -> CommandResult:
        """Run a command; see `Machines`."""
        async with aclosing(self.exec(tenant_id, command)) as pieces:
            return await result_of(pieces)

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """Read a part of a regular file; see `Machines`."""
        limits.check_slice(path, offset_bytes, limit_bytes)
        async with self._machines.using(tenant_id) as guest:
            return await guest.read(path, offset_bytes=offset_bytes, limit_bytes=limit_bytes)

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        """Write a whole file; see `Machines`."""
        limits.check_content(path, content)
        async with self._machines.using(tenant_id) as guest:
            await guest.write(path, content)

    async def search(self, tenant_id: TenantId, pattern: str, path: str, *, limit: int) -> SearchResult:
        """Search file contents; see `Machines`."""
        limits.check_search(pattern, path, limit)
        async with self._machines.using(tenant_id) as guest:
            return await guest.search(pattern, path, limit=limit)

    async def archive(self, tenant_id: TenantId, path: str, *, limit_bytes: int) -> AsyncGenerator[bytes, None]:
        """Stream a folder as a tar; see `Machines`. Close the iterator if it is not read to its end."""
        limits.check_archive(path, limit_bytes)
        async with (
            self._machines.using(tenant_id) as guest,
            aclosing(guest.archive(path, limit_bytes=limit_bytes)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def forward(self, tenant_id: TenantId, port: int) -> str:
        """Return the address of a unix socket that leads to a port inside; see `Machines`."""
        limits.check_port(port)
        return f"unix/{await self._forwards.socket_for(tenant_id, port)}"

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        """Ask the program on a port inside for its first page; see `Machines`."""
        limits.check_port(port)
        limits.check_hostname(hostname)
        async with self._machines.using(tenant_id):
            return await self._serving.try_port(tenant_id, port, hostname)

    async def wake(self, tenant_id: TenantId) -> None:
        """Start the tenant's machine if it sleeps; see `Machines`."""
        await self._machines.wake(tenant_id)

    async def sleep(self, tenant_id: TenantId) -> None:
        """Put the tenant's machine to sleep; see `Machines`."""
        await self._machines.sleep(tenant_id)

    async def checkpoint(self, tenant_id: TenantId, label: str) -> Checkpoint:
        """Keep what the tenant's disk is now; see `Machines`."""
        limits.check_label(label)
        if present := await self._labelled(tenant_id, label):
            return present
        await self._machines.sync_house(tenant_id)
        async with self._machines.still(tenant_id):
            await in_thread(keep_disk, self._settings.home, tenant_id, label, self._machines.formatted_disk)
            with mirroring(tenant_id):
                await self._settings.mirror.keep_checkpoint(tenant_id, label)
        made = await self._labelled(tenant_id, label)
        assert made is not None
        return made

    async def checkpoints(self, tenant_id: TenantId) -> tuple[Checkpoint, ...]:
        """List the tenant's checkpoints; see `Machines`."""
        async with self._machines.files(tenant_id):
            kept = await in_thread(list_checkpoints, folder_of(self._settings.home, tenant_id))
            return tuple([await in_thread(described, checkpoint) for checkpoint in kept])

    async def roll_back(self, tenant_id: TenantId, label: str) -> None:
        """Make the tenant's disk what it was at a checkpoint; see `Machines`."""
        limits.check_label(label)
        if await self._labelled(tenant_id, label) is None:
            raise NotFound("There is no such checkpoint.")
        async with self._machines.ended(tenant_id):
            folder = folder_of(self._settings.home, tenant_id)
            await self._settings.mirror.rest(tenant_id, UNKNOWN)
            await in_thread(forget_snapshot, folder)
            await in_thread(roll_back, folder, label)
            with mirroring(tenant_id):
                await self._settings.mirror.roll_back(tenant_id, label)

    async def sync_house(self, tenant_id: TenantId) -> bool:
        """Bring the mirror of the tenant's house up to date; see `Machines`."""
        return await self._machines.sync_house(tenant_id)

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Write a file of the tenant's house, or remove it; see `Machines`."""
        check_house_file(path, content)
        await self._machines.write_house(tenant_id, path, content)

    async def stats(self, tenant_id: TenantId) -> MachineStats:
        """Say what the tenant's machine is and uses; see `Machines`."""
        up = self._machines.started(tenant_id)
        async with self._machines.files(tenant_id):
            return await in_thread(stats_of, self._settings.home, tenant_id, up.machine.process_id if up else None)

    async def _labelled(self, tenant_id: TenantId, label: str) -> Checkpoint | None:
        return next((one for one in await self.checkpoints(tenant_id) if one.label == label), None)

    async def destroy(self, tenant_id: TenantId) -> None:
        """Stop the tenant's machine and erase its disk; see `Machines`."""
        await self._forwards.remove(tenant_id)
        async with self._machines.ended(tenant_id):
            try:
                await asyncio.to_thread(erase, self._settings.home, tenant_id)
            except OSError as error:
                raise Unavailable("The machine's disk could not be erased.", internal=str(error)) from error
            await self._settings.mirror.owed(tenant_id, is_new=True)
            await self._settings.ledger.destroy(tenant_id)

    async def statuses(self) -> tuple[MachineStatus, ...]:
        """List the machines that are awake; see `Machines`."""
        return self._machines.statuses()
