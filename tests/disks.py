"""Tenants' folders for tests of checkpoints: disks that hold a word, and calls that die at one operation on files."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from subclaw.core.tenant import TenantId
from subclaw.machines.disks.checkpoints import list_checkpoints
from subclaw.machines.disks.disk import DISK, folder_of

TENANT = TenantId(5)
SIZE_BYTES = 100_000
OPERATIONS = (
    *((os, name) for name in ("copy_file_range", "fchmod", "fsync", "link", "mkdir", "rename", "truncate")),
    *((os, name) for name in ("unlink", "utime")),
    (fcntl, "ioctl"),
)
"""All by which a tenant's files are changed, but the opening of a new one."""

KILLED = 9


def tenant_folder(home: Path, content: str) -> Path:
    """Make a tenant's folder with a disk."""
    folder = folder_of(home, TENANT)
    folder.mkdir(parents=True)
    (folder / DISK).touch()
    os.truncate(folder / DISK, SIZE_BYTES)
    write(folder, content)
    return folder


def write(folder: Path, content: str) -> None:
    """Write to a disk as a machine does: in place."""
    with (folder / DISK).open("r+b") as file:
        file.write(content.encode().ljust(20, b"\0"))


def contents(folder: Path) -> dict[str, str]:
    """Return what the disk and the checkpoints hold, once what was interrupted is mended."""
    kept = {checkpoint.label: checkpoint.path for checkpoint in list_checkpoints(folder)}
    return {name: path.read_bytes().rstrip(b"\0").decode() for name, path in {"disk": folder / DISK, **kept}.items()}


def labels(folder: Path) -> list[str]:
    """Return the checkpoints' labels, the oldest first."""
    return [checkpoint.label for checkpoint in list_checkpoints(folder)]


def at_operation(number: int, happen: Callable[[], None], set_attribute: Callable[[Any, str, Any], None]) -> None:
    """Have something happen in place of one operation on files, counted from 0 and from now."""
    count = -1

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                happen()
            return operation(*arguments, **named)

        return instead

    for module, name in OPERATIONS:
        set_attribute(module, name, counted(getattr(module, name)))


def killed_at(number: int, call: Callable[[], object]) -> bool:
    """Make a call in a process that is killed before one operation on files; say whether it came to that."""
    process = os.fork()
    if not process:
        status = 1
        try:
            at_operation(number, lambda: os._exit(KILLED), setattr)
            call()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, KILLED), "the call failed"
    return status == KILLED
