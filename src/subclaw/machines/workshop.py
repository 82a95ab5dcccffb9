"""What a host needs to start machines, opened in order when it begins, and brought into agreement with what it left."""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from subclaw.core.errors import Conflict, SubclawError, Unavailable
from subclaw.core.house import Mirror
from subclaw.core.machine import MachineLedger
from subclaw.core.tenant import TenantId
from subclaw.core.waking import VisitLimits
from subclaw.machines.cgroups.groups import ControlGroups, open_groups
from subclaw.machines.disks.disk import formatted_disk
from subclaw.machines.house import Housing
from subclaw.machines.images.image import Image, load_image, using_image
from subclaw.machines.images.pins import known_homes, pins_of, register_home
from subclaw.machines.network.doors import Doors
from subclaw.machines.qemu.accelerator import probe_accelerator
from subclaw.machines.qemu.jail import Jail, open_jail
from subclaw.machines.qemu.memory import use_small_pages
from subclaw.machines.qemu.pool import Pool
from subclaw.machines.qemu.processes import end_orphans
from subclaw.machines.qemu.seats import SEATS, Seats, Share
from subclaw.machines.qemu.snapshot import read_snapshot
from subclaw.machines.qemu.template import Hardware, Template, forget_templates, template_key
from subclaw.machines.qemu.templates import Templates

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """How a host runs its machines.

    `home` keeps the tenants' disks, `cache` the images and templates; tenants who are new get `image`. `ledger` is the
    record of this host's machines, `mirror` that of their houses, into which `defaults` are laid (content by path).
    Forward sockets are made in `forward_folder`, for the group `forward_group_id` to use (None: this process's group).
    `awake_limit` is None for as many as the host has room for; who finds it full waits for `queue_s`. `pool_size`
    machines are kept waiting, each of which takes the room of one that is awake. `egress_sockets` are those by which
    the gateway's processes are handed machines' doors; without any, machines reach nothing.
    """

    home: Path
    cache: Path
    image: Image
    ledger: MachineLedger
    mirror: Mirror
    defaults: Mapping[str, bytes]
    forward_folder: Path
    forward_group_id: int | None = None
    memory_mb: int = 256
    awake_limit: int | None = None
    pool_size: int = 0
    queue_s: float = 30.0
    boot_timeout_s: float = 90.0
    egress_sockets: tuple[Path, ...] = ()
    share: Share = field(default_factory=Share)
    visit_limits: VisitLimits = field(default_factory=VisitLimits)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What machines are started with. New tenants get `image`; `formatted_disk` is what their disks are copied from."""

    home: Path
    cache: Path
    image: Image
    hardware: Hardware
    formatted_disk: Path
    ledger: MachineLedger
    housing: Housing
    seats: Seats
    templates: Templates
    pool: Pool
    doors: Doors
    egress_sockets: tuple[Path, ...]
    group: asyncio.TaskGroup


@asynccontextmanager
async def open_workshop(settings: FleetSettings) -> AsyncIterator[Workshop]:
    """Open a host's workshop, whose group runs all tasks of its machines, for the length of the block.

    A golden image that does not boot here is not used: then new tenants get the one that most others are pinned to.
    Raises `Conflict` if another host runs on the home folder, `Unavailable`, `NotFound` if the image was removed.
    """
    async with AsyncExitStack() as stack:
        stack.callback(os.close, take_home(settings.home))
        use_small_pages()
        await asyncio.to_thread(register_home, settings.cache, settings.home)
        stack.enter_context(using_image(settings.image))
        groups = await asyncio.to_thread(open_groups, settings.home)
        stack.callback(groups.close)
        await reconcile(settings, groups)
        jail = await asyncio.to_thread(open_jail, settings.cache, settings.home)
        seats = Seats(settings.home, jail, groups, settings.memory_mb, settings.share)
        templates, template = await first_template(settings, jail, seats)
        await stack.enter_async_context(templates)
        logger.info("machines run under %s", templates.hardware.accelerator.kind.value)
        forget_unneeded_templates(settings, template.image, templates.hardware)
        formatted = await asyncio.to_thread(formatted_disk, settings.cache)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        pool = Pool(settings.pool_size, template, templates.hardware, seats, formatted, group)
        stack.push_async_callback(pool.close)
        doors = Doors(group)
        stack.push_async_callback(doors.close)
        yield Workshop(
            home=settings.home,
            cache=settings.cache,
            image=template.image,
            hardware=templates.hardware,
            formatted_disk=formatted,
            ledger=settings.ledger,
            housing=Housing(mirror=settings.mirror, defaults=settings.defaults),
            seats=seats,
            templates=templates,
            pool=pool,
            doors=doors,
            egress_sockets=settings.egress_sockets,
            group=group,
        )


async def first_template(settings: FleetSettings, jail: Jail, seats: Seats) -> tuple[Templates, Template]:
    """Return the template of the newest golden image, or, if that does not boot, of one that tenants are pinned to.

    Finds out by that how this host runs machines. Raises `Unavailable` if none boots.
    """
    failure = Unavailable("There is no golden image.")
    for image in (settings.image, *pinned_images(settings)):
        try:
            accelerator = await probe_accelerator(image, settings.cache, jail, seats, memory_mb=settings.memory_mb)
            hardware = Hardware(accelerator=accelerator, memory_mb=settings.memory_mb, jail=jail)
            templates = Templates(settings.cache, hardware, seats, settings.boot_timeout_s)
            return templates, await templates.of_image(image)
        except Unavailable as error:
            logger.error("the golden image %s does not boot: %s", image.digest[:12], error.internal)
            failure = error
    raise failure


def pinned_images(settings: FleetSettings) -> Iterator[Image]:
    """Yield the other images that this home's tenants are pinned to, the one of most tenants first."""
    pinned, _ = pins_of(settings.home)
    for digest, _ in Counter(pinned).most_common():
        if digest != settings.image.digest:
            with contextlib.suppress(SubclawError):
                yield load_image(settings.cache, digest)


def take_home(home: Path) -> int:
    """Lock the home folder for this process and return the descriptor that holds the lock.

    Raises `Conflict` if another host runs on it, `Unavailable` if it cannot be used.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(home / "host.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable("The folder for machines cannot be used.", internal=str(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Conflict("Another host of machines runs on this folder.", internal=str(home)) from error
    return descriptor


async def reconcile(settings: FleetSettings, groups: ControlGroups) -> None:
    """Bring processes, control groups, rows and files into agreement: whatever an earlier host left running is ended.

    The disk of a tenant who is not in the database is left where it is: the database may be the wrong one. Raises
    `Unavailable`.
    """
    if ended := await asyncio.to_thread(end_orphans, settings.home / SEATS):
        logger.warning("ended %d machines that an earlier host had left running", ended)
    for left in groups.left_over():
        await asyncio.to_thread(left.kill)
        left.remove()
    if settled := await settings.ledger.settle([]):
        logger.warning("%d machines were awake when the host ended", settled)
    tenants = tenants_with_disks(settings.home)
    if strangers := set(tenants) - await settings.ledger.existing(tenants):
        logger.warning("there are %d disks of tenants who are not in the database", len(strangers))


def tenants_with_disks(home: Path) -> list[TenantId]:
    """List the tenants who have a disk on this host."""
    return [TenantId(int(path.name)) for path in (home / "machines").glob("*") if path.name.isdecimal()]


def forget_unneeded_templates(settings: FleetSettings, image: Image, hardware: Hardware) -> None:
    """Remove the templates that are neither the newest for this host nor needed by a machine that sleeps."""
    homes, unreadable = known_homes(settings.cache)
    if unreadable:
        return
    snapshots = [read_snapshot(folder) for home in homes for folder in (home / "machines").glob("*")]
    needed_ids = {snapshot.template for snapshot in snapshots if snapshot is not None}
    with contextlib.suppress(OSError, SubclawError):
        forget_templates(settings.cache, {template_key(image, hardware)}, needed_ids)
