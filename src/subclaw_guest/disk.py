"""The tenant's disk, `/dev/vdb`: mounted, mended if it is damaged, and grown to the size of its device.

The superblock's fields and their offsets are those of the kernel's Documentation/filesystems/ext4/super.rst.
"""

import asyncio
import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator

from subclaw_guest.commands import end
from subclaw_guest.mounts import MS_RDONLY, mount, unmount
from subclaw_guest.processes import Processes, read_some
from subclaw_guest.refusals import Reason, Refused

DEVICE = "/dev/vdb"
# Unwritten inode tables read as zeros in a sparse file, so there is no need to write them.
OPTIONS = "noinit_itable,discard"
BLKFLSBUF = 0x1261
FIFREEZE = 0xC0045877
EXT4_IOC_RESIZE_FS = 0x40086610
SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_BYTES = 1024
HAS_ERRORS = 0x2
INCOMPATIBLE_64BIT = 0x80
REPAIR_LIMIT_S = 45.0
MENDED = 0x1 | 0x2
"""The bits of e2fsck's exit status that say that errors were corrected; any other means that some are left."""


async def attach(processes: Processes, target: str) -> bool:
    """Mount the disk at a folder; say whether it had to be mended. Raises `Refused` if it cannot be."""
    with opened() as device:
        # Forget what the kernel may have read of the disk that was there before.
        fcntl.ioctl(device, BLKFLSBUF, 0)
        sound = mounted(target) and not has_errors(superblock(device))
        if not sound:
            await mend(processes, target)
        grow(device, target)
    return not sound


def rehearse(target: str) -> None:
    """Mount the disk that a waiting machine has, if there is one, without a change to it, and let it go again."""
    with opened() as device:
        fcntl.ioctl(device, BLKFLSBUF, 0)
        with contextlib.suppress(OSError):
            mount(DEVICE, target, "ext4", MS_RDONLY, f"{OPTIONS},noload")
            has_errors(superblock(device))
            unmount(target)


@contextlib.contextmanager
def opened() -> Iterator[int]:
    """Open the disk's device."""
    device = os.open(DEVICE, os.O_RDONLY)
    try:
        yield device
    finally:
        os.close(device)


def mounted(target: str) -> bool:
    """Mount the disk; say whether that went well."""
    try:
        mount(DEVICE, target, "ext4", options=OPTIONS)
    except OSError:
        return False
    return True


async def mend(processes: Processes, target: str) -> None:
    """Check the file system, first with what is safe to mend, then with everything, and mount it again."""
    with contextlib.suppress(OSError):  # it may not be mounted
        unmount(target)
    try:
        async with asyncio.timeout(REPAIR_LIMIT_S):
            if not await checked(processes, "-p"):
                await checked(processes, "-f", "-y")
    except TimeoutError:
        raise Refused(Reason.BAD_DISK) from None
    if not mounted(target):
        raise Refused(Reason.BAD_DISK)


async def checked(processes: Processes, *options: str) -> bool:
    """Run e2fsck(8); say whether the file system is sound afterwards."""
    child = processes.start(["/sbin/e2fsck", *options, DEVICE], folder="/")
    try:
        while await read_some(child.output):
            pass  # nobody here could make use of what it says
        return not await asyncio.shield(child.exited) & ~MENDED
    finally:
        os.close(child.output)
        if not child.exited.done():
            await end(child)


def freeze(folder: str) -> None:
    """Let nothing be written to the folder's disk any more, so that whoever mounts it next has nothing to recover.

    A tenant may have put something else there that cannot be frozen.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, FIFREEZE, 0)
    finally:
        os.close(descriptor)


def superblock(device: int) -> bytes:
    """Read the file system's superblock, as it is now."""
    return os.pread(device, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET)


def has_errors(superblock: bytes) -> bool:
    """Say whether the kernel or e2fsck has found something wrong (s_state)."""
    (state,) = struct.unpack_from("<H", superblock, 0x3A)
    return bool(state & HAS_ERRORS)


def size_in_blocks(superblock: bytes) -> tuple[int, int]:
    """Return how many blocks a file system has, and how many bytes one is (s_blocks_count, s_log_block_size)."""
    low, block_bits = struct.unpack_from("<I", superblock, 0x4)[0], struct.unpack_from("<I", superblock, 0x18)[0]
    incompatible, high = struct.unpack_from("<I", superblock, 0x60)[0], struct.unpack_from("<I", superblock, 0x150)[0]
    return low | (high << 32 if incompatible & INCOMPATIBLE_64BIT else 0), 1024 << block_bits


def grow(device: int, target: str) -> None:
    """Let the mounted file system have the whole device, if that is larger by more than 1 %. If it cannot, it stays."""
    blocks, block_bytes = size_in_blocks(superblock(device))
    wanted = os.lseek(device, 0, os.SEEK_END) // block_bytes
    if wanted * 100 <= blocks * 101:
        return
    folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.ioctl(folder, EXT4_IOC_RESIZE_FS, struct.pack("Q", wanted))
    finally:
        os.close(folder)
