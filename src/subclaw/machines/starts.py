"""Starting a tenant's machine: what is tried, in which order, and what is recorded of it before and after."""

import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.machine import MachineState, Terms
from subclaw.core.tenant import TenantId
from subclaw.machines.disks.checkpoints import mend
from subclaw.machines.disks.disk import existing_disk, folder_of, grow, make_disk
from subclaw.machines.disks.record import Record, read_record, repin, write_record
from subclaw.machines.file_work import in_thread
from subclaw.machines.images.image import load_image
from subclaw.machines.qemu.restore import Used, make_tenants, restored, wake_up
from subclaw.machines.qemu.running import Running
from subclaw.machines.qemu.snapshot import Snapshot, forget_snapshot, read_snapshot, use_snapshot
from subclaw.machines.qemu.template import Template
from subclaw.machines.workshop import Workshop

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to start a machine: on the golden image of a digest, or where a snapshot left off.

    `pin` and `refused` are put on record at its start; see `Record`.
    """

    image: str
    pin: str
    refused: str = ""
    snapshot: Snapshot | None = None


@dataclass(frozen=True, kw_only=True)
class Started:
    """A tenant's machine that is up: its start, and what it was restored from."""

    machine: Running
    generation: int
    terms: Terms
    image: str
    template: Template


def ways(last: Record | None, snapshot: Snapshot | None, newest: str) -> tuple[Way, ...]:
    """Say how a machine can be started, the best way first.

    One that was put to sleep with its memory goes on. Another starts on the newest golden image; if it was pinned to an
    older one, that is what it falls back to, and a newest image that was refused before is not tried again.
    """
    if last is None:
        return (Way(image=newest, pin=newest),)
    kept: tuple[Way, ...] = (Way(image=last.image, pin=last.image, refused=last.refused_image),)
    if last.image != newest and last.refused_image != newest:
        kept = (Way(image=newest, pin=last.image), Way(image=last.image, pin=last.image, refused=newest))
    if snapshot is None or snapshot.generation != last.generation:
        return kept
    going_on = Way(image=last.image, pin=last.image, refused=last.refused_image, snapshot=snapshot)
    return (going_on, *kept)


@asynccontextmanager
async def started(workshop: Workshop, tenant_id: TenantId) -> AsyncIterator[Started]:
    """Start a tenant's machine in the first way that works; it ends with the block.

    Each try is a start of its own, counted by the ledger before the disk is opened. Raises `Unavailable`, `Conflict`,
    `NotFound`, `Corrupt`, `Exhausted`.
    """
    folder = folder_of(workshop.home, tenant_id)
    last = await in_thread(read_record, folder)
    snapshot = read_snapshot(folder) if last else None
    tries = ways(last, snapshot, workshop.image.digest)
    generation = last.generation if last else 0
    for number, way in enumerate(tries, start=1):
        generation, terms = await workshop.ledger.begin(tenant_id, at_least=generation, image=way.image)
        async with AsyncExitStack() as stack:
            try:
                disk = await in_thread(prepare, workshop, folder, generation, way, terms)
                machine, template = await try_way(workshop, stack, tenant_id, disk, way)
                if way.image != way.pin:
                    await in_thread(repin, folder, generation, way.image)
            except SubclawError as error:
                await stack.aclose()
                with contextlib.suppress(SubclawError):
                    await workshop.ledger.end(tenant_id, generation, MachineState.ASLEEP, awake_s=0.0)
                if number == len(tries) or not isinstance(error, Unavailable):
                    raise
                logger.warning("machine %s is started in another way: %s", tenant_id, error.internal)
                continue
            yield Started(machine=machine, generation=generation, terms=terms, image=way.image, template=template)
            return


def prepare(workshop: Workshop, folder: Path, generation: int, way: Way, terms: Terms) -> Path:
    """Make the tenant's files ready for a start, put it on record, and return the disk.

    Raises `Corrupt`, `Conflict`, `Exhausted`, `OSError`.
    """
    disk = prepare_disk(folder, workshop.formatted_disk, read_record(folder))
    write_record(folder, Record(generation=generation, image=way.pin, refused_image=way.refused))
    if way.snapshot is None:
        # What the disk becomes now no snapshot knows of.
        forget_snapshot(folder)
        if (size_bytes := terms.disk_mb * 1024**2) > disk.stat().st_size:
            grow(disk, size_bytes)
    return disk


def prepare_disk(folder: Path, formatted: Path, last: Record | None) -> Path:
    """Return the disk for a tenant's next machine, before which nothing may write to it.

    `last` is what is recorded of the tenant: without a record the disk is made. A roll-back that was interrupted is
    finished or taken back first. Raises `Corrupt` if there is a record and no disk, `OSError`.
    """
    mend(folder)
    return make_disk(folder, formatted) if last is None else existing_disk(folder)


async def try_way(
    workshop: Workshop, stack: AsyncExitStack, tenant_id: TenantId, disk: Path, way: Way
) -> tuple[Running, Template]:
    """Start a machine in one way, for as long as the stack. Raises `Unavailable`, `Corrupt`, `NotFound`."""
    if way.snapshot is not None:
        return await go_on(workshop, stack, disk, way.snapshot)
    image = workshop.image if way.image == workshop.image.digest else load_image(workshop.cache, way.image)
    template = await workshop.templates.of_image(image)
    if waiting := workshop.pool.take(template):
        stack.push_async_exit(waiting.stack)
        machine = waiting.machine
        await machine.monitor.give_disk(disk)
    else:
        seat = stack.enter_context(workshop.seats.taken())
        machine = await stack.enter_async_context(
            restored(template, workshop.hardware, seat, workshop.group, disk=disk)
        )
    await make_tenants(machine, f"machine-{tenant_id}", await in_thread(size_of, disk))
    return machine, template


def size_of(disk: Path) -> int:
    """Return the size of a disk in bytes. Raises `OSError`."""
    return disk.stat().st_size


async def go_on(workshop: Workshop, stack: AsyncExitStack, disk: Path, snapshot: Snapshot) -> tuple[Running, Template]:
    """Start a machine where its snapshot left off, which is used up by that, also if it fails. Raises `Unavailable`."""
    template = await workshop.templates.by_id(snapshot.template)
    used = Used(snapshot=snapshot, folder=await in_thread(use_snapshot, disk.parent))
    if template is None:
        raise Unavailable("The machine could not be woken.", internal="the template of its snapshot is gone")
    seat = stack.enter_context(workshop.seats.taken())
    machine = await stack.enter_async_context(
        restored(template, workshop.hardware, seat, workshop.group, disk=disk, used=used)
    )
    await wake_up(machine)
    await in_thread(forget_snapshot, disk.parent)
    return machine, template
