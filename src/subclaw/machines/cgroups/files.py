"""Reading and writing the kernel's files of control groups."""

import errno
from pathlib import Path

PROCESSES_FILE = "cgroup.procs"
TURNED_ON_FILE = "cgroup.subtree_control"


def read(path: Path) -> str | None:
    """Return what is in a file; None if it is not there. Raises `OSError`."""
    try:
        return path.read_text("utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENODEV:  # the group was removed after the file was opened
            return None
        raise


def words(path: Path) -> list[str]:
    """Return the words in a file; none if it is not there. Raises `OSError`."""
    return (read(path) or "").split()


def number(path: Path) -> int | None:
    """Return the number in a file; None if it is not there. Raises `OSError`, `ValueError`."""
    text = read(path)
    return None if text is None else int(text)


def field(path: Path, name: str) -> int | None:
    """Return the number after a name in a file of such lines; None if there is none. Raises `OSError`, `ValueError`."""
    found = [line.split()[1] for line in (read(path) or "").splitlines() if line.startswith(f"{name} ")]
    return int(found[0]) if found else None


def write(path: Path, text: str) -> None:
    """Write to a file in one call, as the kernel wants it. Raises `OSError`."""
    with path.open("wb", buffering=0) as file:
        file.write(text.encode("ascii"))


def remove_folder(folder: Path) -> bool:
    """Remove a group; False if it is in use. Nothing happens if it is not there. Raises `OSError`."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True
