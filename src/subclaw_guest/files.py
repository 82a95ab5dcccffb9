"""Reading and writing regular files. These functions block; the agent calls them in threads."""

import contextlib
import os
import stat
from collections.abc import Iterator

from subclaw_guest.processes import HOME
from subclaw_guest.refusals import Reason, Refused


def resolve(path: str) -> str:
    """Take a path from the agent's home. Raises `Refused` for one that cannot be."""
    if not path or "\0" in path:
        raise Refused(Reason.BAD_PATH)
    return os.path.join(HOME, path)


def check_regular(mode: int) -> None:
    """Raise `Refused` unless a mode is a regular file's."""
    if stat.S_ISDIR(mode):
        raise Refused(Reason.IS_FOLDER)
    if not stat.S_ISREG(mode):
        raise Refused(Reason.NOT_REGULAR)


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a regular file for reading, following links. Raises `Refused` or `OSError`."""
    # Looked at first, because opening a device or a pipe may do something; and again, because it may have changed.
    check_regular(os.stat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        check_regular(os.fstat(descriptor).st_mode)
        yield descriptor
    finally:
        os.close(descriptor)


def read(path: str, offset_bytes: int, limit_bytes: int) -> tuple[bytes, int]:
    """Read at most `limit_bytes` from an offset; return them and the file's whole size. Raises `Refused`, `OSError`."""
    with opened(resolve(path)) as descriptor:
        return os.pread(descriptor, limit_bytes, offset_bytes), os.fstat(descriptor).st_size


class Replacement:
    """A new file beside the one that it will replace. `close` removes it unless it was committed."""

    def __init__(self, path: str) -> None:
        self._target = os.path.realpath(resolve(path))
        self._mode = mode_of(self._target)
        folder, name = os.path.split(self._target)
        os.makedirs(folder, exist_ok=True)
        # Cut, so that the longest name a file may have can still be written.
        self._temporary = os.path.join(folder, f".{name[:100]}.{os.getrandom(8).hex()}")
        self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def add(self, data: bytes) -> None:
        """Append bytes."""
        while data:
            data = data[os.write(self._descriptor, data) :]

    def commit(self) -> None:
        """Put the new file, safely on disk, in the place of the old one."""
        os.fchmod(self._descriptor, self._mode)
        os.fsync(self._descriptor)
        os.rename(self._temporary, self._target)
        self._temporary = ""
        sync_folder(os.path.dirname(self._target))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)


def sync_folder(path: str) -> None:
    """Make a change of a folder's entries outlast a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mode_of(path: str) -> int:
    """Return the permissions of the file that is there, or those of a new one. Raises `Refused` if it is no file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return 0o644
    check_regular(mode)
    return stat.S_IMODE(mode)


def check_folder(path: str) -> str:
    """Return a folder's whole path. Raises `Refused` if it is a link or no folder, `OSError` if it is not there."""
    whole = resolve(path)
    if not stat.S_ISDIR(os.lstat(whole).st_mode):
        raise Refused(Reason.NOT_FOLDER)
    return whole
