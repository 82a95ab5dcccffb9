"""Making the golden image, on which process 1 waits, into a tenant's machine: its disk, root and identity.

Until `enter` is called the machine is nobody's, so its memory can be saved here and be the start of many machines.
Whatever can be done before that is done in `prepare`.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from functools import partial

from subclaw_guest import disk
from subclaw_guest.house import HOUSE
from subclaw_guest.identity import Identity, refresh, show_boot_id, take_names
from subclaw_guest.mounts import MS_MOVE, MS_NODEV, MS_NOSUID, bind, change_root, mount
from subclaw_guest.network import take_cable
from subclaw_guest.occupation import CLAIMS
from subclaw_guest.processes import Processes
from subclaw_guest.trust import ENVIRONMENT, trust

SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40

RECLAIM = {"/sys/kernel/mm/lru_gen/enabled": "y", "/sys/kernel/mm/lru_gen/min_ttl_ms": "1000"}
"""What was used within the last second stays in memory: where it does not fit, the kernel ends a program.

Else it would go on for minutes dropping what all programs are made of and reading it again. Source: the kernel's
Documentation/admin-guide/mm/multigen_lru.rst.
"""

STAGE = "/mnt"
DISK = "/mnt/disk"
ROOT = "/mnt/root"
DURABLE = {"home": "/home/agent", "site": "/srv/site", "house": HOUSE}
SPARES = 8
"""Empty folders that are kept on the disk, an inode and a block each. Mounting an overlay takes three."""

MOVED = ("/proc", "/sys", "/dev", "/run")


def prepare() -> None:
    """Do what every machine needs before it waits: the kernel's file systems, reclaim, the network, a stage."""
    os.makedirs("/dev/pts", exist_ok=True)
    os.makedirs("/dev/shm", exist_ok=True)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV)
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID)
    mount("tmpfs", STAGE, "tmpfs")
    for folder in (DISK, ROOT, CLAIMS):
        os.makedirs(folder)
    for path, value in RECLAIM.items():
        with contextlib.suppress(FileNotFoundError), open(path, "w", encoding="ascii") as file:
            file.write(value)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))
    take_cable()


async def enter(processes: Processes, identity: Identity) -> bool:
    """Become the tenant's machine; say whether its disk had to be mended.

    Raises `Refused` or `OSError`; the machine is then of no use.
    """
    refresh(identity.clock_ns, identity.entropy)
    repaired = await disk.attach(processes, DISK)
    mount_root(DISK, ROOT)
    show_boot_id(identity.boot_id)
    enter_root(ROOT)
    take_names(identity)
    accept(processes, identity.authority)
    return repaired


def accept(processes: Processes, authority: str) -> None:
    """Have the machine's programs trust a certificate authority, if there is one."""
    if authority:
        trust(authority)
        processes.environment.update(ENVIRONMENT)


def mount_root(layer: str, root: str) -> None:
    """Lay the tenant's own changes over the golden image, and its durable folders over that.

    On a disk that is full to the last file the spare folders make room: else nobody could come in to make some.
    """
    upper, work, spare = f"{layer}/os/upper", f"{layer}/os/work", f"{layer}/os/spare"
    for folder in (upper, work):
        if not os.path.isdir(folder):
            os.makedirs(folder)
    options = f"lowerdir=/,upperdir={upper},workdir={work}"
    with_spares(spare, lambda: mount("overlay", root, "overlay", options=options))
    keep_spares(spare)
    for name, target in DURABLE.items():
        with_spares(spare, partial(show, f"{layer}/{name}", root + target))


def with_spares(spare: str, step: Callable[[], None]) -> None:
    """Take a step that may need room on the disk, and take it again in the room of the spare folders if there is none.

    Raises `OSError`.
    """
    try:
        step()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        give_up_spares(spare)
        step()


def keep_spares(folder: str) -> None:
    """Have the spare folders in a folder, or as many as there is room for."""
    if not os.path.isdir(f"{folder}/{SPARES - 1}"):
        with contextlib.suppress(OSError):
            for number in range(SPARES):
                os.makedirs(f"{folder}/{number}", exist_ok=True)


def give_up_spares(folder: str) -> None:
    """Remove the spare folders."""
    for number in range(SPARES):
        with contextlib.suppress(OSError):
            os.rmdir(f"{folder}/{number}")


def show(source: str, target: str) -> None:
    """Bind a folder to another. A new disk does not have them, and the tenant may have put anything in their place."""
    try:
        bind(source, target)
    except (FileNotFoundError, NotADirectoryError):
        for folder in (source, target):
            if not os.path.isdir(folder):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    os.unlink(folder)
                os.makedirs(folder, exist_ok=True)
        bind(source, target)


def enter_root(root: str) -> None:
    """Make a folder the root of every process, with the kernel's file systems, and let the golden image's own go."""
    for folder in MOVED:
        try:
            mount(folder, root + folder, flags=MS_MOVE)
        except FileNotFoundError:
            os.makedirs(root + folder)
            mount(folder, root + folder, flags=MS_MOVE)
    change_root(root)
