"""What tells one machine from another that was copied from the same memory: clock, randomness, names.

The agent keeps no random state of its own: whatever it needs comes from getrandom(2), which `refresh` makes different.
"""

import contextlib
import fcntl
import os
import re
import socket
import struct
import time
from dataclasses import dataclass

from subclaw_guest.mounts import bind
from subclaw_guest.owned_files import replace, start_of

RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
RANDOM_BYTES = 16
NAME_LIMIT_BYTES = 128

HOSTNAME = "/etc/hostname"
MACHINE_ID = "/etc/machine-id"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
OWN_BOOT_ID = "/run/subclaw/boot_id"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a machine a certain tenant's.

    `clock_ns` is since 1970; `entropy` is 32 secret bytes or more; `boot_id` is a UUID; `machine_id` (32 hexadecimal
    digits) is for a disk that has none; `authority` is a certificate to trust (PEM), empty for none.
    """

    hostname: str
    clock_ns: int
    entropy: bytes
    boot_id: str
    machine_id: str
    authority: str


def refresh(clock_ns: int, entropy: bytes) -> None:
    """Set the clock, mix secret bytes into the kernel's pool and make it use them at once (random(4))."""
    time.clock_settime_ns(time.CLOCK_REALTIME, clock_ns)
    device = os.open("/dev/random", os.O_RDONLY)
    try:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy)
        fcntl.ioctl(device, RNDRESEEDCRNG)
    finally:
        os.close(device)


def show_boot_id(boot_id: str) -> None:
    """Have every process read this boot's own id. The kernel's is that of the boot that all copies share."""
    replace(OWN_BOOT_ID, f"{boot_id}\n".encode())
    bind(OWN_BOOT_ID, BOOT_ID)


def take_names(identity: Identity) -> None:
    """Store what the disk does not have yet. Most starts find everything there and write nothing.

    A disk that is full takes no name, and the machine must come up for somebody to make room.
    """
    socket.sethostname(identity.hostname)
    with contextlib.suppress(OSError):
        if content(HOSTNAME) != identity.hostname:
            replace(HOSTNAME, f"{identity.hostname}\n".encode())
    with contextlib.suppress(OSError):
        if not re.fullmatch("[0-9a-f]{32}", content(MACHINE_ID)):
            replace(MACHINE_ID, f"{identity.machine_id}\n".encode())


def proof() -> dict[str, object]:
    """Return what a program in this machine would now find."""
    return {
        "hostname": socket.gethostname(),
        "machine_id": content(MACHINE_ID),
        "boot_id": content(BOOT_ID),
        "clock_ns": time.time_ns(),
        "random": os.getrandom(RANDOM_BYTES).hex(),
    }


def content(path: str) -> str:
    """Return a small file's line. Empty for what is no such file: the tenant may have put anything there."""
    return start_of(path, NAME_LIMIT_BYTES).decode("ascii", "replace").strip()
