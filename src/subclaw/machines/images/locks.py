"""Locks on folders, which the kernel releases when their holder ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Hold a lock on a folder while the body runs; gives the descriptor that holds it. `operation` is flock(2)'s.

    Raises `OSError`: `FileNotFoundError` if there is no folder, `BlockingIOError` if it would have to wait and may not.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        yield descriptor
    finally:
        os.close(descriptor)
