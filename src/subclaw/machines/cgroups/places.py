"""Where this host may make control groups, of version 1 or 2, and what it cannot bound. Looks, and changes nothing.

Sources: the kernel's admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1; proc(5) and cgroups(7) for what is parsed.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from subclaw.machines.cgroups.files import PROCESSES_FILE, TURNED_ON_FILE, read, words

OWN_PROCESS = Path("/proc/self")
BLOCK_DEVICES = Path("/sys/dev/block")


class Resource(StrEnum):
    """What a control group bounds; the value is the name of its controller in version 2."""

    MEMORY = "memory"
    CPU = "cpu"
    PROCESSES = "pids"
    DISK = "io"


CONTROLLERS_V1 = {
    Resource.MEMORY: "memory",
    Resource.CPU: "cpu",
    Resource.PROCESSES: "pids",
    Resource.DISK: "blkio",
}
ACCOUNTING_V1 = "cpuacct"


class Lack(StrEnum):
    """Why a resource cannot be bounded on this host."""

    NO_CONTROLLER = "no controller for it is mounted"
    READ_ONLY = "its control groups cannot be written"
    HELD = "the control group that subclaw runs in, and each above it that is seen, holds processes"
    NO_DISK = "the state folder's file system is on no one disk (overlay, btrfs, tmpfs)"
    REFUSED = "the kernel refused to turn its controller on"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a group can be made. `path` leads there from the uppermost group that is seen, each just below the last."""

    version: int
    path: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The group below which one can be made."""
        return self.path[-1]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found: of each resource its place, or why there is none.

    `accounting` is where version 1 counts processor time. `disk` is the number, MAJOR:MINOR, of the disk to bound.
    """

    places: Mapping[Resource, Place]
    missing: Mapping[Resource, Lack]
    accounting: Place | None
    disk: str | None


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A mounted hierarchy: `folder` shows the group `root` and those below. `options` name version 1's controllers."""

    version: int
    root: str
    folder: Path
    options: frozenset[str]


def survey(folder: Path, process: Path = OWN_PROCESS) -> Survey:
    """Look for the place of each resource; `folder`, or what it will be made in, is on the disk to bound.

    `process` is the folder in /proc of the process whose groups count. Raises `OSError`.
    """
    mounts = parse_mounts(read(process / "mountinfo") or "")
    own = parse_groups(read(process / "cgroup") or "")
    found = {resource: find(resource, mounts, own) for resource in Resource}
    disk = disk_number(folder)
    if disk is None:
        found[Resource.DISK] = Lack.NO_DISK
    accounting = find_v1(ACCOUNTING_V1, mounts, own)
    return Survey(
        places={resource: place for resource, place in found.items() if isinstance(place, Place)},
        missing={resource: lack for resource, lack in found.items() if isinstance(lack, Lack)},
        accounting=accounting if isinstance(accounting, Place) else None,
        disk=disk,
    )


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the hierarchies in a /proc/PID/mountinfo."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(" "), "", "", "")[:3]
        if kind in ("cgroup", "cgroup2"):
            root, folder = (unescape(field) for field in before.split(" ")[3:5])
            version = 2 if kind == "cgroup2" else 1
            names = frozenset(options.split(","))
            mounts.append(Mount(version=version, root=root, folder=Path(folder), options=names))
    return tuple(mounts)


def unescape(field: str) -> str:
    """Undo the kernel's octal escapes of white space and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def parse_groups(text: str) -> dict[str, str]:
    """Return a /proc/PID/cgroup as the path of the group by controller; version 2's has the name ''."""
    lines = (line.split(":", 2) for line in text.splitlines())
    return {name: path for _, names, path in lines for name in names.split(",")}


def find(resource: Resource, mounts: tuple[Mount, ...], own: Mapping[str, str]) -> Place | Lack:
    """Return a resource's place. A controller is in one hierarchy: of version 2, or of version 1."""
    for mount in mounts:
        if mount.version == 2 and resource.value in words(mount.folder / "cgroup.controllers"):
            return place_v2(resource.value, lineage(mount, own.get("", "/")))
    return find_v1(CONTROLLERS_V1[resource], mounts, own)


def find_v1(controller: str, mounts: tuple[Mount, ...], own: Mapping[str, str]) -> Place | Lack:
    """Return the place of one of version 1's controllers: the group that this process is in."""
    for mount in mounts:
        if mount.version == 1 and controller in mount.options:
            folder = lineage(mount, own.get(controller, "/"))[-1]
            return Place(version=1, path=(folder,)) if os.access(folder, os.W_OK) else Lack.READ_ONLY
    return Lack.NO_CONTROLLER


def place_v2(controller: str, above: tuple[Path, ...]) -> Place | Lack:
    """Return the nearest group above this process that may have groups with a controller below it.

    A group of version 2 that holds processes cannot give controllers to groups below; only the true root can do both.
    """
    lengths = [length for length in range(1, len(above) + 1) if divisible(above[length - 1])]
    if not lengths:
        return Lack.HELD
    path = above[: lengths[-1]]
    off = [folder for folder in path if controller not in words(folder / TURNED_ON_FILE)]
    if not all(divisible(folder) for folder in off):
        return Lack.HELD
    if not all(os.access(file, os.W_OK) for file in (path[-1], *(folder / TURNED_ON_FILE for folder in off))):
        return Lack.READ_ONLY
    return Place(version=2, path=path)


def divisible(folder: Path) -> bool:
    """Say whether a group of version 2 may have groups with controllers below it. The true root has no type."""
    try:
        return not (folder / "cgroup.type").exists() or not words(folder / PROCESSES_FILE)
    except OSError:  # a threaded group does not tell, and cannot be divided
        return False


def lineage(mount: Mount, own: str) -> tuple[Path, ...]:
    """Return the groups from the mounted one down to `own`; if that is not below, or is not seen, the mounted one."""
    try:
        parts = PurePosixPath(own).relative_to(mount.root).parts
    except ValueError:
        parts = ()
    groups = tuple(mount.folder.joinpath(*parts[:length]) for length in range(len(parts) + 1))
    return groups if ".." not in parts and groups[-1].is_dir() else (mount.folder,)


def disk_number(folder: Path, devices: Path = BLOCK_DEVICES) -> str | None:
    """Return the number, MAJOR:MINOR, of the whole disk that a folder is or would be on; None if it is on no one."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    number = nearest.stat().st_dev
    device = devices / f"{os.major(number)}:{os.minor(number)}"
    if not device.exists():
        return None
    # A partition is a folder in that of its disk (sysfs); input and output are bounded for whole disks.
    disk = device.resolve().parent if (device / "partition").exists() else device
    return (disk / "dev").read_text("ascii").strip()
