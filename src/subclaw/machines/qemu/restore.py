"""Restoring a machine from a template, or from a snapshot that was taken of one, and making it a tenant's."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from subclaw.core.errors import Exhausted, Unavailable
from subclaw.machines.disks.disk import DISK_BYTES
from subclaw.machines.guest.guest import GuestBroken
from subclaw.machines.guest.identity import new_identity
from subclaw.machines.network.door import Door
from subclaw.machines.qemu.command_line import Launch, Memory
from subclaw.machines.qemu.running import Running, running
from subclaw.machines.qemu.seats import Seat
from subclaw.machines.qemu.snapshot import Snapshot, bring_memory, open_devices
from subclaw.machines.qemu.template import Hardware, Template

SET_UP_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Used:
    """A snapshot that was taken out for its one use, and the folder where it is now."""

    snapshot: Snapshot
    folder: Path


@asynccontextmanager
async def restored(
    template: Template,
    hardware: Hardware,
    seat: Seat,
    group: asyncio.TaskGroup,
    *,
    door: Door,
    disk: Path | None,
    used: Used | None = None,
) -> AsyncIterator[Running]:
    """Give a machine as it was saved, stopped, behind a door; it ends with the block. Raises `Unavailable`, `Corrupt`.

    Without a disk it may get one later. With a snapshot it has that one's memory and devices, else the template's.
    """
    with contextlib.ExitStack() as files:
        launch = Launch(
            name=seat.name,
            kernel=template.kernel_head,
            initramfs=None,
            golden=template.image.golden,
            disk=disk,
            accelerator=hardware.accelerator,
            memory=Memory(descriptor=opened(files, template.open_memory), size_mb=hardware.memory_mb, shared=False),
            jail=hardware.jail,
            user=seat.user,
            tap=door.tap,
            incoming=opened(files, partial(open_devices, used.folder) if used else template.open_devices),
        )
        last_stream = used.snapshot.last_stream if used else template.last_stream
        async with running(launch, group, last_stream=last_stream, on_spawned=seat.take) as machine:
            files.close()
            if used is not None:
                await bring_memory(machine, template, used.folder)
            assert machine.incoming is not None
            await machine.monitor.load(machine.incoming)
            yield machine


def opened(files: contextlib.ExitStack, open_file: Callable[[], int]) -> int:
    """Open a file that is closed with others. Raises `Unavailable`."""
    try:
        descriptor = open_file()
    except OSError as error:
        raise Unavailable("The machine could not be started.", internal=f"restore: {error}") from error
    files.callback(os.close, descriptor)
    return descriptor


async def make_tenants(machine: Running, hostname: str, disk_bytes: int, authority: str = "") -> None:
    """Let a restored machine go on as a tenant's, with its disk in place.

    `authority` is the certificate (PEM) that its programs are to trust, if any. Raises `Unavailable` if it
    does not come up or is not unique, `Corrupt` if its disk cannot be repaired, `Exhausted` if the host's disk is full.
    """
    with in_words(machine):
        if disk_bytes != DISK_BYTES:
            await machine.monitor.tell_disk_size(disk_bytes)
        await machine.monitor.go_on()
        await machine.guest.set_up(new_identity(hostname, authority), timeout_s=SET_UP_S)


async def wake_up(machine: Running, authority: str = "") -> None:
    """Let a machine that was restored from a snapshot go on, with the time of now. `authority`: see `make_tenants`.

    Raises `Unavailable`, `Exhausted` if the host's disk is full.
    """
    with in_words(machine):
        await machine.monitor.go_on()
        await machine.guest.resume(authority, timeout_s=SET_UP_S)


@contextlib.contextmanager
def in_words(machine: Running) -> Iterator[None]:
    """Put a machine that is not what it should be into words. Raises `Unavailable`, `Exhausted`."""
    try:
        yield
    except GuestBroken as error:
        if machine.monitor.host_full:
            raise Exhausted("The machine did not come up: the host's disk is full.", internal=str(error)) from error
        raise Unavailable("The machine did not come up.", internal=str(error)) from error
