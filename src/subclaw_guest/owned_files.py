"""Files that the agent keeps on a disk where the tenant may have put anything in their place."""

import contextlib
import os
import stat
from collections.abc import Iterator


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading, not following a link. Raises `OSError` for anything else."""
    # Not blocking, because a pipe could be there.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def start_of(path: str, limit_bytes: int) -> bytes:
    """Return as much of a file as there is within a limit; nothing of what is no regular file."""
    try:
        with opened(path) as descriptor:
            return os.pread(descriptor, limit_bytes, 0)
    except OSError:
        return b""


def replace(path: str, content: bytes) -> None:
    """Put a file at a path, whole or not at all, whatever file was there. Raises `OSError`."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    try:
        os.fchmod(descriptor, 0o644)
        while content:
            content = content[os.write(descriptor, content) :]
        os.rename(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    finally:
        os.close(descriptor)
