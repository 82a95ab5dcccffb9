"""Copying a disk, the fastest way first: sharing its blocks, copying its data in the kernel, reading and writing it.

A copy is sparse where its source is. Blocks of zeros are not looked for: that would mean to read everything.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1024**2
FICLONE = 0x40049409
"""ioctl_ficlone(2): a file gets another's content, and the two share every block until one of them is written."""

NOT_HERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.EXDEV})
"""What the kernel says if it cannot share or copy between two files: other file systems, or one that never can."""


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file that nobody writes meanwhile, and leave its holes out.

    The copy replaces `target`, and is there whole or not at all, even if the host loses its power. Raises `OSError`.
    """
    new = target.with_name(f".{target.name}.new")
    try:
        with source.open("rb") as reading, new.open("wb") as writing:
            os.fchmod(writing.fileno(), 0o600)
            if not clone(reading.fileno(), writing.fileno()):
                copy_data(reading.fileno(), writing.fileno())
            os.fsync(writing.fileno())
        new.rename(target)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def clone(reading: int, writing: int) -> bool:
    """Make one file share another's blocks; say whether that can be done here (xfs and btrfs can). Raises `OSError`."""
    try:
        fcntl.ioctl(writing, FICLONE, reading)
    except OSError as error:
        if error.errno in NOT_HERE:
            return False
        raise
    return True


def copy_data(reading: int, writing: int) -> None:
    """Give an empty file another's size and data. Raises `OSError`."""
    os.truncate(writing, os.fstat(reading).st_size)
    for start, end in data_ranges(reading):
        while start < end:
            copied = copy_some(reading, writing, start, end - start)
            if not copied:
                raise OSError(errno.EIO, "a file became shorter while it was copied")
            start += copied


def copy_some(reading: int, writing: int, offset: int, size_bytes: int) -> int:
    """Copy a part of a file to the same place in another; return how many bytes were copied. Raises `OSError`."""
    try:
        return os.copy_file_range(reading, writing, size_bytes, offset, offset)
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise
    return os.pwrite(writing, os.pread(reading, min(PIECE_BYTES, size_bytes), offset), offset)


def data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file that are not holes, as offsets of their first byte and of the first after."""
    size = os.fstat(descriptor).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # there is no more data
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlast a loss of power. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
