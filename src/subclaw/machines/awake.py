"""The machines that are awake: each lives in a task of its own, started by whoever needs it first, ended when idle."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.machine import MachineStatus
from subclaw.core.tenant import TenantId
from subclaw.machines.disk import disk_error, folder_of
from subclaw.machines.guest import Guest, GuestBroken
from subclaw.machines.image import Image
from subclaw.machines.processes import forget_process, process_name, record_process
from subclaw.machines.qemu import Accelerator, Launch, Owner
from subclaw.machines.running import Running, running
from subclaw.machines.starts import start_generation

SYNC_S = 20.0
WAKE_TRIES = 100
UNKNOWN_OUTCOME = (
    "The machine stopped in the middle of this; whether it was done is unknown. The next call starts the machine again."
)
STOPPING = "The host of machines is stopping."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """How a host runs its machines.

    `home` keeps the tenants' disks, `cache` the images. `owner` is who QEMU runs as (None: this user). Forward sockets
    are made in `forward_folder`, for the group `forward_group_id` to use (None: this process's group).
    """

    home: Path
    cache: Path
    image: Image
    accelerator: Accelerator
    owner: Owner | None
    forward_folder: Path
    forward_group_id: int | None = None
    memory_mb: int = 256
    awake_limit: int = 16
    idle_timeout_s: float = 300.0
    boot_timeout_s: float = 60.0


@dataclass(kw_only=True)
class Awake:
    """A machine from the start of its boot to its end. Times are those of a clock that only goes forward."""

    tenant_id: TenantId
    ready: asyncio.Future[Running]
    started_s: float
    used_s: float
    generation: int = 0
    calls: int = 0
    sync: bool = True
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def is_idle(self) -> bool:
        """Say whether it is up and no call is under way in it."""
        return self.is_up() and not self.calls

    def is_going(self) -> bool:
        """Say whether it has stopped or is about to."""
        return self.stop.is_set() or (self.ready.done() and self.ready.result().gone.is_set())

    def is_up(self) -> bool:
        """Say whether it has come up and is not going."""
        return self.ready.done() and not self.is_going()

    def touch(self) -> None:
        """Say that it was used just now."""
        self.used_s = time.monotonic()

    def end_unsynced(self) -> None:
        """Have it ended as it is: it is broken, or its disk is about to be erased."""
        self.sync = False
        self.stop.set()


class AwakeMachines:
    """Wakes machines and puts them to sleep. All tasks run in the group that is given."""

    def __init__(self, settings: FleetSettings, formatted_disk: Path, group: asyncio.TaskGroup) -> None:
        self._settings = settings
        self._formatted_disk = formatted_disk
        self._group = group
        self._awake: dict[TenantId, Awake] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._reaper = group.create_task(self._put_idle_to_sleep())

    async def close(self, timeout_s: float) -> None:
        """Put every machine to sleep; what takes longer than the time-out is killed."""
        self._closing = True
        self._reaper.cancel()
        try:
            async with asyncio.timeout(timeout_s):
                for awake in list(self._awake.values()):
                    awake.stop.set()
                for awake in list(self._awake.values()):
                    await awake.ended.wait()
        except TimeoutError:
            logger.error("%d machines did not go to sleep in time and are killed", len(self._awake))
        finally:
            for task in self._tasks:
                task.cancel()

    @asynccontextmanager
    async def using(self, tenant_id: TenantId) -> AsyncIterator[Guest]:
        """Wake a tenant's machine and keep it awake for one call. Raises `Unavailable`, `Exhausted`, `Corrupt`."""
        awake, machine = await self._wake(tenant_id)
        awake.calls += 1
        try:
            yield machine.guest
        except GuestBroken as error:
            awake.end_unsynced()
            raise Unavailable(UNKNOWN_OUTCOME, internal=f"machine {tenant_id}: {error}") from error
        finally:
            awake.calls -= 1
            awake.touch()

    @asynccontextmanager
    async def connected(self, tenant_id: TenantId) -> AsyncIterator[tuple[Guest, Callable[[], None]]]:
        """Wake a tenant's machine for a connection, which keeps it awake only while it calls the second value."""
        awake, machine = await self._wake(tenant_id)
        try:
            yield machine.guest, awake.touch
        except GuestBroken as error:
            awake.end_unsynced()
            raise Unavailable(UNKNOWN_OUTCOME, internal=f"machine {tenant_id}: {error}") from error

    async def sleep(self, tenant_id: TenantId) -> None:
        """Put a tenant's machine to sleep, its disk synced, and wait until it does."""
        if awake := self._awake.get(tenant_id):
            awake.stop.set()
            await awake.ended.wait()

    async def end(self, tenant_id: TenantId) -> None:
        """End a tenant's machine as it is. When this returns it is gone, until something is awaited."""
        while awake := self._awake.get(tenant_id):
            awake.end_unsynced()
            await awake.ended.wait()

    def statuses(self) -> tuple[MachineStatus, ...]:
        """List the machines that are up."""
        up = (awake for awake in self._awake.values() if awake.is_up())
        return tuple(self._status(awake) for awake in up)

    def _status(self, awake: Awake) -> MachineStatus:
        now_s = time.monotonic()
        return MachineStatus(
            tenant_id=awake.tenant_id,
            generation=awake.generation,
            process_id=awake.ready.result().process_id,
            image=self._settings.image.digest,
            accelerator=self._settings.accelerator.kind.value,
            idle_s=0.0 if awake.calls else now_s - awake.used_s,
            awake_s=now_s - awake.started_s,
        )

    async def _wake(self, tenant_id: TenantId) -> tuple[Awake, Running]:
        """Return a tenant's machine, started if it was not there. Many callers at once start it once."""
        for _ in range(WAKE_TRIES):
            awake = self._awake.get(tenant_id)
            if awake is None:
                await self._start(tenant_id)
            elif awake.is_going():
                await awake.ended.wait()
            else:
                machine = await asyncio.shield(awake.ready)
                if not awake.is_going():
                    awake.touch()
                    return awake, machine
        raise Exhausted("The machine is wanted by too many at once. Try again in a moment.")

    async def _start(self, tenant_id: TenantId) -> None:
        """Begin a machine's life if there is room; else make room, and let the caller look again."""
        if self._closing:
            raise Unavailable(STOPPING)
        if len(self._awake) >= self._settings.awake_limit:
            await self._make_room()
            return
        ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        now_s = time.monotonic()
        awake = Awake(tenant_id=tenant_id, ready=ready, started_s=now_s, used_s=now_s)
        self._awake[tenant_id] = awake
        task = self._group.create_task(self._live(awake))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_room(self) -> None:
        """Wait for a machine that is going, or put the idle one to sleep that was used longest ago."""
        going = next((awake for awake in self._awake.values() if awake.is_going()), None)
        if going is None:
            idle = [awake for awake in self._awake.values() if awake.is_idle()]
            if not idle:
                raise Exhausted("All machines of this host are busy. Try again in a few minutes.")
            going = min(idle, key=lambda awake: awake.used_s)
            going.stop.set()
        await going.ended.wait()

    async def _live(self, awake: Awake) -> None:
        """Run one machine from its boot to its end. Whoever waits for it is told how the boot went."""
        settings = self._settings
        folder = folder_of(settings.home, awake.tenant_id)
        try:
            launch = await self._launch(awake)
            async with running(
                launch,
                self._group,
                hostname=f"machine-{awake.tenant_id}",
                boot_timeout_s=settings.boot_timeout_s,
                on_spawned=partial(record_process, folder, launch.name),
            ) as machine:
                awake.ready.set_result(machine)
                await either(self._group, machine.gone, awake.stop)
                await sync(awake, machine)
        except SubclawError as error:
            logger.error("machine %s: %s", awake.tenant_id, error.internal)
            fail(awake, error)
        except OSError as error:
            fail(awake, disk_error(error))
        finally:
            fail(awake, Unavailable(STOPPING))
            forget_process(folder)
            del self._awake[awake.tenant_id]
            awake.ended.set()

    async def _launch(self, awake: Awake) -> Launch:
        """Count the start, and say what to start."""
        settings = self._settings
        disk, record = await asyncio.to_thread(
            start_generation, settings.home, awake.tenant_id, self._formatted_disk, settings.image.digest
        )
        awake.generation = record.generation
        return Launch(
            name=process_name(settings.home, awake.tenant_id, record.generation),
            image=settings.image,
            disk=disk,
            accelerator=settings.accelerator,
            memory_mb=settings.memory_mb,
            owner=settings.owner,
        )

    async def _put_idle_to_sleep(self) -> None:
        timeout_s = self._settings.idle_timeout_s
        while True:
            now_s = time.monotonic()
            due_s = [awake.used_s + timeout_s for awake in self._awake.values() if awake.is_idle()]
            # Whatever becomes idle meanwhile is not due before a whole time-out has passed.
            await asyncio.sleep(max(0.01, min([*due_s, now_s + timeout_s]) - now_s))
            for awake in self._awake.values():
                if awake.is_idle() and awake.used_s + timeout_s <= time.monotonic():
                    awake.stop.set()


async def sync(awake: Awake, machine: Running) -> None:
    """Write everything to the disk, unless the machine is broken or gone: what it had not written then is lost."""
    if machine.gone.is_set() or not awake.sync:
        logger.warning("machine %s was ended without a sync", awake.tenant_id)
        return
    try:
        await machine.guest.sync(timeout_s=SYNC_S)
    except (GuestBroken, SubclawError) as error:
        logger.warning("machine %s went to sleep without a sync: %s", awake.tenant_id, error)


async def either(group: asyncio.TaskGroup, *events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    tasks = [group.create_task(wait_for(event)) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def wait_for(event: asyncio.Event) -> None:
    """Wait until an event is set."""
    await event.wait()


def fail(awake: Awake, error: SubclawError) -> None:
    """Tell whoever waits for a machine that it did not come up, unless it did. It is going in any case."""
    awake.stop.set()
    if not awake.ready.done():
        awake.ready.set_exception(error)
        awake.ready.exception()  # so that nobody having waited is no complaint of asyncio's
