"""Machines that wait: restored, warm, stopped, and nobody's, until the next tenant who needs one takes one."""

import asyncio
import contextlib
import logging
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import SubclawError
from subclaw.machines.disks.copies import copy_sparse
from subclaw.machines.disks.disk import DISK
from subclaw.machines.file_work import in_thread
from subclaw.machines.guest.guest import GuestBroken
from subclaw.machines.network.door import Door, opened_door
from subclaw.machines.qemu.restore import restored
from subclaw.machines.qemu.running import Running
from subclaw.machines.qemu.seats import Seats
from subclaw.machines.qemu.template import Hardware, Template

REHEARSAL_S = 60.0
RETRY_S = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A machine that waits, its door, which nobody serves yet, and what ends them."""

    machine: Running
    door: Door
    stack: AsyncExitStack


class Pool:
    """Keeps `size` machines of one template waiting, with `blank_disk` to rehearse on.

    All tasks run in the group that is given.
    """

    def __init__(
        self,
        size: int,
        template: Template,
        hardware: Hardware,
        seats: Seats,
        blank_disk: Path,
        group: asyncio.TaskGroup,
    ) -> None:
        self.size = size
        self._blank_disk = blank_disk
        self._template = template
        self._hardware = hardware
        self._seats = seats
        self._group = group
        self._waiting: deque[Waiting] = deque()
        self._wanted = asyncio.Event()
        self._filling = group.create_task(self._fill()) if size else None

    def take(self, template: Template) -> Waiting | None:
        """Return a machine of a template that is still well, to be the caller's to end; None if there is none."""
        while template is self._template and self._waiting:
            waiting = self._waiting.popleft()
            self._wanted.set()
            if not waiting.machine.gone.is_set():
                return waiting
            self._group.create_task(waiting.stack.aclose())
        return None

    async def close(self) -> None:
        """End every machine that waits, and make no more."""
        if self._filling is not None:
            self._filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._filling
        while self._waiting:
            await self._waiting.popleft().stack.aclose()

    async def _fill(self) -> None:
        while True:
            self._wanted.clear()
            try:
                while len(self._waiting) < self.size:
                    self._waiting.append(await self._make())
            except (SubclawError, GuestBroken) as error:
                logger.error("no machine can be kept waiting: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                await self._wanted.wait()

    async def _make(self) -> Waiting:
        """Restore a machine, let it rehearse what it will be asked for first, and stop it."""
        async with AsyncExitStack() as stack:
            seat = stack.enter_context(self._seats.taken())
            disk = seat.folder / DISK
            await in_thread(copy_sparse, self._blank_disk, disk)
            stack.callback(disk.unlink, missing_ok=True)
            door = await stack.enter_async_context(opened_door())
            machine = await stack.enter_async_context(
                restored(self._template, self._hardware, seat, self._group, door=door, disk=disk)
            )
            await machine.monitor.go_on()
            await machine.guest.rehearse(timeout_s=REHEARSAL_S)
            await machine.monitor.stop()
            return Waiting(machine=machine, door=door, stack=stack.pop_all())
