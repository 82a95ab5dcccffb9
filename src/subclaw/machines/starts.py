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
from subclaw.machines.house import House, house_of
from subclaw.machines.images.image import load_image
from subclaw.machines.network.door import Door
from subclaw.machines.network.gateway import GatewayAway, gateway_of, served
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
    """A tenant's machine that is up: its start, and what it was restored from.

    `generation_before` is that of the start before, 0 if there was none. `house` changes with what is known of it.
    """

    machine: Running
    generation: int
    generation_before: int
    house: House
    terms: Terms
    image: str
    template: Template


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a machine comes to be: behind a door that is served, perhaps one where it waits already.

    `authority` is the certificate that it is to trust.
    """

    template: Template
    door: Door
    authority: str
    waiting: Running | None


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

    Each try is a start of its own, counted by the ledger before the disk is opened. One whose door nobody serves is the
    last, and leaves the tenant's files as they were. Raises `Unavailable`, `Conflict`, `NotFound`, `Corrupt`,
    `Exhausted`.
    """
    folder = folder_of(workshop.home, tenant_id)
    last = await in_thread(read_record, folder)
    snapshot = read_snapshot(folder) if last else None
    tries = ways(last, snapshot, workshop.image.digest)
    # Asked before anything is recorded, so that what waits for a machine that is new is never taken for removed.
    owed = await workshop.housing.mirror.owed(tenant_id, is_new=last is None)
    generation = last.generation if last else 0
    for number, way in enumerate(tries, start=1):
        generation_before = generation
        generation, terms = await workshop.ledger.begin(tenant_id, at_least=generation, image=way.image)
        async with AsyncExitStack() as stack:
            try:
                place = await find_place(workshop, stack, tenant_id, way)
                disk = await in_thread(prepare, workshop, folder, generation, way, terms)
                machine = await come_up(workshop, stack, tenant_id, disk, way, place)
                if way.image != way.pin:
                    await in_thread(repin, folder, generation, way.image)
            except SubclawError as error:
                await stack.aclose()
                with contextlib.suppress(SubclawError):
                    await workshop.ledger.end(tenant_id, generation, MachineState.ASLEEP, awake_s=0.0)
                if number == len(tries) or isinstance(error, GatewayAway) or not isinstance(error, Unavailable):
                    raise
                logger.warning("machine %s is started in another way: %s", tenant_id, error.internal)
                continue
            yield Started(
                machine=machine,
                generation=generation,
                generation_before=generation_before,
                house=house_of(tenant_id, owed),
                terms=terms,
                image=way.image,
                template=place.template,
            )
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


async def find_place(workshop: Workshop, stack: AsyncExitStack, tenant_id: TenantId, way: Way) -> Place:
    """Find a place for a machine, and have the gateway serve its door, for as long as the stack.

    Raises `GatewayAway`, `Unavailable`, `Corrupt`, `NotFound`.
    """
    template = await template_of(workshop, way)
    waiting = workshop.pool.take(template) if way.snapshot is None else None
    if waiting is None:
        door = await stack.enter_async_context(workshop.doors.opened())
    else:
        stack.push_async_exit(waiting.stack)
        door = waiting.door
    gateway = gateway_of(workshop.egress_sockets, tenant_id)
    authority = await stack.enter_async_context(served(door, gateway, tenant_id, workshop.group))
    return Place(template=template, door=door, authority=authority, waiting=waiting.machine if waiting else None)


async def template_of(workshop: Workshop, way: Way) -> Template:
    """Return what a machine is restored from. Raises `Unavailable`, `NotFound`."""
    if way.snapshot is None:
        image = workshop.image if way.image == workshop.image.digest else load_image(workshop.cache, way.image)
        return await workshop.templates.of_image(image)
    template = await workshop.templates.by_id(way.snapshot.template)
    if template is None:
        raise Unavailable("The machine could not be woken.", internal="the template of its snapshot is gone")
    return template


async def come_up(
    workshop: Workshop, stack: AsyncExitStack, tenant_id: TenantId, disk: Path, way: Way, place: Place
) -> Running:
    """Start a machine at its place, for as long as the stack. Raises `Unavailable`, `Corrupt`, `Exhausted`."""
    if way.snapshot is not None:
        return await go_on(workshop, stack, disk, way.snapshot, place)
    machine = place.waiting
    if machine is None:
        machine = await brought_back(workshop, stack, disk, place)
    else:
        await machine.monitor.give_disk(disk)
    await make_tenants(machine, f"machine-{tenant_id}", await in_thread(size_of, disk), place.authority)
    return machine


async def go_on(workshop: Workshop, stack: AsyncExitStack, disk: Path, snapshot: Snapshot, place: Place) -> Running:
    """Start a machine where its snapshot left off, which is used up by that, also if it fails. Raises `Unavailable`."""
    used = Used(snapshot=snapshot, folder=await in_thread(use_snapshot, disk.parent))
    machine = await brought_back(workshop, stack, disk, place, used)
    await wake_up(machine, place.authority)
    await in_thread(forget_snapshot, disk.parent)
    return machine


async def brought_back(
    workshop: Workshop, stack: AsyncExitStack, disk: Path, place: Place, used: Used | None = None
) -> Running:
    """Restore a machine at its place, stopped, for as long as the stack. Raises `Unavailable`, `Corrupt`."""
    seat = stack.enter_context(workshop.seats.taken())
    machine = restored(place.template, workshop.hardware, seat, workshop.group, door=place.door, disk=disk, used=used)
    return await stack.enter_async_context(machine)


def size_of(disk: Path) -> int:
    """Return the size of a disk in bytes. Raises `OSError`."""
    return disk.stat().st_size
