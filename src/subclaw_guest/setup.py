"""Making the golden image, on which process 1 waits, into a tenant's machine: its clock, entropy, name and disk.

Until `enter` is called the machine is nobody's, so it can be saved as a template here.
"""

import ctypes
import fcntl
import os
import socket
import struct
import time
from dataclasses import dataclass

MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_MOVE = 8192
MNT_DETACH = 2
PIVOT_ROOT = 155
BLKFLSBUF = 0x1261
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40

STAGE = "/mnt"
DISK = "/mnt/disk"
ROOT = "/mnt/root"
DURABLE = {"home": "/home/agent", "site": "/srv/site"}

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a machine a certain tenant's. `clock_ns` is since 1970; `entropy` is 32 secret bytes or more."""

    hostname: str
    clock_ns: int
    entropy: bytes


def prepare() -> None:
    """Do what every machine needs before it waits: the kernel's file systems and the loopback interface."""
    os.makedirs("/dev/pts", exist_ok=True)
    os.makedirs("/dev/shm", exist_ok=True)
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV)
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV)
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))


def enter(identity: Identity) -> None:
    """Become the tenant's machine. Raises `OSError`; the machine is then of no use."""
    time.clock_settime_ns(time.CLOCK_REALTIME, identity.clock_ns)
    add_entropy(identity.entropy)
    socket.sethostname(identity.hostname)
    mount("tmpfs", STAGE, "tmpfs", 0)
    mount_disk()
    mount_root()
    change_root()
    with open("/etc/hostname", "w", encoding="ascii") as file:
        file.write(identity.hostname + "\n")
    make_machine_id()


def add_entropy(entropy: bytes) -> None:
    """Mix secret bytes into the kernel's pool and make it use them at once (random(4))."""
    with open("/dev/random", "rb") as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy)
        fcntl.ioctl(device, RNDRESEEDCRNG)


def mount_disk() -> None:
    """Mount the tenant's disk. What the kernel may have read of it before is forgotten first."""
    with open("/dev/vdb", "rb") as device:
        fcntl.ioctl(device, BLKFLSBUF, 0)
    os.mkdir(DISK)
    # Unwritten inode tables read as zeros in a sparse file, so there is no need to write them.
    mount("/dev/vdb", DISK, "ext4", 0, "noinit_itable,discard")


def mount_root() -> None:
    """Lay the tenant's own changes over the golden image, and its durable folders over that."""
    for folder in ("os/upper", "os/work", *DURABLE):
        os.makedirs(os.path.join(DISK, folder), exist_ok=True)
    os.mkdir(ROOT)
    options = f"lowerdir=/,upperdir={DISK}/os/upper,workdir={DISK}/os/work"
    mount("overlay", ROOT, "overlay", 0, options)
    for name, target in DURABLE.items():
        os.makedirs(ROOT + target, exist_ok=True)
        mount(os.path.join(DISK, name), ROOT + target, "", MS_BIND)


def change_root() -> None:
    """Make the overlay the root of every process and let the golden image's own tree go."""
    for folder in ("/proc", "/sys", "/dev", "/run"):
        os.makedirs(ROOT + folder, exist_ok=True)
        mount(folder, ROOT + folder, "", MS_MOVE)
    os.makedirs(ROOT + STAGE, exist_ok=True)
    checked(libc.syscall(PIVOT_ROOT, ROOT.encode(), (ROOT + STAGE).encode()))
    os.chdir("/")
    checked(libc.umount2(STAGE.encode(), MNT_DETACH))


def make_machine_id() -> None:
    """Give the machine an id of its own, once (machine-id(5))."""
    path = "/etc/machine-id"
    if not os.path.exists(path) or not os.path.getsize(path):
        with open(path, "w", encoding="ascii") as file:
            file.write(os.urandom(16).hex() + "\n")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Call mount(2). Raises `OSError`."""
    checked(libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()))


def checked(result: int) -> None:
    """Raise `OSError` for a C function's -1."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
