"""The machines that are awake: each lives in a task of its own, started by whoever needs it first, ended when idle."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.house import Waiting
from subclaw.core.machine import MachineStatus
from subclaw.core.tenant import TenantId
from subclaw.machines.disks.disk import disk_error
from subclaw.machines.guest.guest import Guest, GuestBroken
from subclaw.machines.house import mirror_house, mirroring, move_in, put_file
from subclaw.machines.life import SYNC_S, Life, Visit, begun, live, put_to_sleep
from subclaw.machines.qemu.running import Running
from subclaw.machines.starts import Started, started
from subclaw.machines.workshop import Workshop

WAKE_TRIES = 100
QUEUE_LIMIT = 64
UNKNOWN_OUTCOME = (
    "The machine stopped in the middle of this; whether it was done is unknown. The next call starts the machine again."
)
HOST_FULL = (
    "The host's disk is full, so the machine stopped in the middle of this; whether it was done is unknown. It can only"
    " go on when there is room again: tell the operator."
)
SPENT = (
    "The time that your computer may run is used up, so it stopped in the middle of this; whether it was done is"
    " unknown."
)
STOPPING = "The host of machines is stopping."
BUSY = "All machines of this host are busy. Try again in a few minutes."

logger = logging.getLogger(__name__)


class AwakeMachines:
    """Wakes machines and puts them to sleep, at most `limit` at a time. All tasks run in the workshop's group.

    Who finds the host full waits for `queue_s` at most, in the order of coming.
    """

    def __init__(self, workshop: Workshop, *, limit: int, queue_s: float) -> None:
        self._workshop = workshop
        self._limit = limit
        self._queue_s = queue_s
        self._lives: dict[TenantId, Life] = {}
        self._file_locks: WeakValueDictionary[TenantId, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue = asyncio.Lock()
        self._queued = 0
        self._freed = asyncio.Event()
        self._closing = False

    async def close(self, timeout_s: float) -> None:
        """Put every machine to sleep; what takes longer than the time-out is killed."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout_s):
                for life in list(self._lives.values()):
                    life.stop.set()
                for life in list(self._lives.values()):
                    await life.ended.wait()
        except TimeoutError:
            logger.error("%d machines did not go to sleep in time and are killed", len(self._lives))
        finally:
            for task in self._tasks:
                task.cancel()

    @property
    def formatted_disk(self) -> Path:
        """What new disks are copied from."""
        return self._workshop.formatted_disk

    @asynccontextmanager
    async def using(self, tenant_id: TenantId) -> AsyncIterator[Guest]:
        """Wake a tenant's machine and keep it awake for one call. Raises `Unavailable`, `Exhausted`, `Corrupt`."""
        life, machine = await self._wake(tenant_id)
        life.calls += 1
        try:
            yield machine.guest
        except GuestBroken as error:
            raise broken(life, machine, error) from error
        finally:
            life.calls -= 1
            life.touch()
            self._freed.set()

    @asynccontextmanager
    async def visited(self, tenant_id: TenantId) -> AsyncIterator[tuple[Guest, Visit]]:
        """Wake a tenant's machine for a visit, which keeps it awake as long as something is heard of it, within limits.

        Raises `SubclawError`.
        """
        life, machine = await self._wake(tenant_id)
        visit = Visit(life=life, used_s=time.monotonic())
        life.visits.add(visit)
        try:
            yield machine.guest, visit
        except GuestBroken as error:
            raise broken(life, machine, error) from error
        finally:
            life.visits.discard(visit)

    def visits_left_s(self, tenant_id: TenantId) -> float | None:
        """See `visits.gate.Sleepers`."""
        life = self._lives.get(tenant_id)
        return None if life is None or life.is_going() else life.visits_left_s()

    async def visits_left_asleep_s(self, tenant_id: TenantId) -> float:
        """See `visits.gate.Sleepers`. What a machine used that is going to sleep is waited for."""
        life = self._lives.get(tenant_id)
        if life is not None and life.is_going():
            await life.ended.wait()
        return await self._workshop.ledger.visits_left_s(tenant_id)

    async def wake(self, tenant_id: TenantId) -> None:
        """Start a tenant's machine if it sleeps. Raises `SubclawError`."""
        async with self.using(tenant_id):
            pass

    @asynccontextmanager
    async def still(self, tenant_id: TenantId) -> AsyncIterator[None]:
        """Let nothing write to a tenant's disk while the body runs; a machine that is awake is synced and stopped.

        Raises `Unavailable`.
        """
        async with self.files(tenant_id):
            life = self._lives.get(tenant_id)
            if life is None or not life.is_up():
                yield
                return
            machine = life.up.result().machine
            try:
                await machine.guest.sync(timeout_s=SYNC_S)
                await machine.monitor.stop()
                try:
                    yield
                finally:
                    await machine.monitor.go_on()
            except GuestBroken as error:
                raise broken(life, machine, error) from error

    @asynccontextmanager
    async def ended(self, tenant_id: TenantId) -> AsyncIterator[None]:
        """End a tenant's machine as it is, and let none start while the body runs."""
        while True:
            while life := self._lives.get(tenant_id):
                life.end_unsynced()
                await life.ended.wait()
            async with self.files(tenant_id):
                if tenant_id not in self._lives:
                    yield
                    return

    async def sleep(self, tenant_id: TenantId) -> None:
        """Put a tenant's machine to sleep, its disk synced, and wait until it does."""
        if life := self._lives.get(tenant_id):
            life.stop.set()
            await life.ended.wait()

    async def renew(self, tenant_id: TenantId) -> None:
        """End a tenant's machine that can do nothing any more, its disk synced if it can be, its memory not saved."""
        life = self._lives.get(tenant_id)
        if life is not None and life.is_up():
            try:
                await life.up.result().machine.guest.sync(timeout_s=SYNC_S)
            except (GuestBroken, SubclawError) as error:
                logger.warning("machine %s is ended without a sync: %s", tenant_id, error)
            life.end_unsynced()

    async def sync_house(self, tenant_id: TenantId) -> bool:
        """Bring the mirror up to date with a machine if it is awake, and say whether it is; see `Machines`."""
        async with self.files(tenant_id):
            life = self._lives.get(tenant_id)
            if life is None or not life.is_up():
                return False
            up = life.up.result()
            try:
                with mirroring(tenant_id):
                    await mirror_house(up.house, up.machine.guest, self._workshop.housing)
            except GuestBroken as error:
                logger.warning("%s", broken(life, up.machine, error).internal)
                return False
            return True

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Write a file of a house, or remove it, in the machine if it is awake, else in the mirror; see `Machines`.

        While the lock is held a machine neither comes up, which takes what waits in the mirror, nor goes to sleep.
        """
        file = Waiting(path=path, content=content)
        async with self.files(tenant_id):
            life = self._lives.get(tenant_id)
            if life is not None and life.is_up():
                up = life.up.result()
                try:
                    await put_file(up.house, up.machine.guest, self._workshop.housing, file)
                    return
                except GuestBroken as error:
                    # Whether it was written is unknown; to write it once more does no harm.
                    logger.warning("%s", broken(life, up.machine, error).internal)
            await self._workshop.housing.mirror.write(tenant_id, path, content)

    def started(self, tenant_id: TenantId) -> Started | None:
        """Return a tenant's machine if it is up."""
        life = self._lives.get(tenant_id)
        return life.up.result() if life is not None and life.is_up() else None

    def statuses(self) -> tuple[MachineStatus, ...]:
        """List the machines that are up."""
        return tuple(self._status(life) for life in self._lives.values() if life.is_up())

    def _status(self, life: Life) -> MachineStatus:
        now_s = time.monotonic()
        up = life.up.result()
        return MachineStatus(
            tenant_id=life.tenant_id,
            generation=up.generation,
            process_id=up.machine.process_id,
            image=up.image,
            accelerator=self._workshop.hardware.accelerator.kind.value,
            idle_s=0.0 if life.calls else now_s - life.used_s,
            awake_s=now_s - life.started_s,
        )

    def files(self, tenant_id: TenantId) -> asyncio.Lock:
        """Return the lock on a tenant's files, held while a machine starts, goes to sleep or is not to write."""
        lock = self._file_locks.get(tenant_id)
        if lock is None:
            lock = self._file_locks[tenant_id] = asyncio.Lock()
        return lock

    async def _wake(self, tenant_id: TenantId) -> tuple[Life, Running]:
        """Return a tenant's machine, started if it was not there. Many callers at once start it once."""
        for _ in range(WAKE_TRIES):
            life = self._lives.get(tenant_id)
            if life is None:
                await self._begin(tenant_id)
            elif life.is_going():
                await life.ended.wait()
            else:
                up = await asyncio.shield(life.up)
                if not life.is_going():
                    life.touch()
                    return life, up.machine
        raise Exhausted("The machine is wanted by too many at once. Try again in a moment.")

    async def _begin(self, tenant_id: TenantId) -> None:
        """Begin a machine's life as soon as there is room, unless somebody else does; the caller looks again.

        Raises `Exhausted` if there is none in time.
        """
        if self._queued >= QUEUE_LIMIT:
            raise Exhausted(BUSY)
        self._queued += 1
        try:
            async with asyncio.timeout(self._queue_s), self._queue:
                while tenant_id not in self._lives and len(self._lives) >= self._room():
                    await self._make_room()
        except TimeoutError as error:
            raise Exhausted(BUSY) from error
        finally:
            self._queued -= 1
        if self._closing:
            raise Unavailable(STOPPING)
        if tenant_id not in self._lives:
            life = self._lives[tenant_id] = begun(tenant_id)
            task = self._workshop.group.create_task(self._live(life))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _room(self) -> int:
        """Return how many machines may be awake: those that wait in the pool take room, too."""
        return max(1, self._limit - self._workshop.pool.size)

    async def _make_room(self) -> None:
        """Wait for a machine that is going, or send the best one to go away; else until a call or a machine ends."""
        going = next((life for life in self._lives.values() if life.is_going()), None)
        if going is None:
            idle = [life for life in self._lives.values() if life.is_idle()]
            if not idle:
                self._freed.clear()
                await self._freed.wait()
                return
            # The one that was used longest ago; one with a claim only if there is no other.
            going = min(idle, key=lambda life: (life.kept_until_s > time.monotonic(), life.used_s))
            going.stop.set()
        await going.ended.wait()

    async def _live(self, life: Life) -> None:
        """Run one machine from its start to its end. Whoever waits for it is told how the start went."""
        try:
            await self._run(life)
        except SubclawError as error:
            logger.error("machine %s: %s", life.tenant_id, error.internal)
            life.fail(error)
        except OSError as error:
            life.fail(disk_error(error))
        finally:
            life.fail(Unavailable(STOPPING))
            del self._lives[life.tenant_id]
            life.ended.set()
            self._freed.set()

    async def _run(self, life: Life) -> None:
        ledger, files = self._workshop.ledger, self.files(life.tenant_id)
        async with AsyncExitStack() as stack:
            async with files:
                up = await stack.enter_async_context(started(self._workshop, life.tenant_id))
                await move_in(
                    up.house, up.machine.guest, self._workshop.housing, generation_before=up.generation_before
                )
            life.up_s = time.monotonic()
            life.up.set_result(up)
            await live(life, up, ledger)
            async with files:
                state = await put_to_sleep(life, up, self._workshop)
                await stack.aclose()
        awake_s = time.monotonic() - life.metered_s
        try:
            await ledger.end(life.tenant_id, up.generation, state, awake_s=awake_s)
        except SubclawError as error:
            logger.warning("machine %s sleeps and is not on record: %s", life.tenant_id, error.internal)


def broken(life: Life, machine: Running, error: GuestBroken) -> SubclawError:
    """Have a machine ended that is of no use any more, unless it is going to sleep by itself, and say so in words."""
    if life.is_spent:
        return Exhausted(SPENT, internal=f"machine {life.tenant_id}: a budget is used up")
    if not life.stop.is_set():
        life.end_unsynced()
    words = HOST_FULL if machine.monitor.host_full else UNKNOWN_OUTCOME
    return Unavailable(words, internal=f"machine {life.tenant_id}: {error}")
