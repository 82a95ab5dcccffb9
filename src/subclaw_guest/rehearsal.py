"""Doing once what a machine will do when it becomes a tenant's, without becoming anybody's.

Under emulation code is slow until it has been translated, and from a disk until it has been read: most of the time that
a machine takes to become a tenant's goes there. So one that waits goes through the motions, in a copy of process 1 that
has mounts of its own: they end with it.
"""

import os
import socket
import time

from subclaw_guest import disk
from subclaw_guest.commands import run
from subclaw_guest.house import Limits, look, put, record
from subclaw_guest.identity import OWN_BOOT_ID, Identity, proof, refresh, show_boot_id, take_names
from subclaw_guest.mounts import leave_mounts, mount
from subclaw_guest.processes import Processes
from subclaw_guest.setup import DISK, ROOT, enter_root, mount_root
from subclaw_guest.trust import trust

TIME_LIMIT_S = 30.0
NO_AUTHORITY = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


async def rehearse(processes: Processes) -> bool:
    """Go through a set-up and a command, and leave nothing behind; say whether all of it worked."""
    status = await processes.fork(go_through_setup)
    ran, _ = await run(processes, b"true", forget, timeout_s=TIME_LIMIT_S, limit_bytes=0)
    return not status and ran == 0


async def forget(data: bytes) -> None:
    """Take output and do nothing with it."""


def go_through_setup() -> None:
    """Do what `setup.enter` does, with the names that there are, and with memory in place of the disk."""
    leave_mounts()
    refresh(time.time_ns(), os.getrandom(64))
    disk.rehearse(DISK)
    mount("tmpfs", DISK, "tmpfs")
    mount_root(DISK, ROOT)
    mount("tmpfs", os.path.dirname(OWN_BOOT_ID), "tmpfs")
    show_boot_id("")
    enter_root(ROOT)
    nobody = Identity(
        hostname=socket.gethostname(), clock_ns=0, entropy=b"", boot_id="", machine_id="", authority=NO_AUTHORITY
    )
    take_names(nobody)
    trust(nobody.authority)
    proof()
    put(record("skills/rehearsal.md", b""))
    look("", Limits(files=1, file_bytes=1, house_bytes=1, path_characters=100, depth=2))
