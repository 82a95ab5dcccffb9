"""Tenants' disks: a raw sparse file each, copied from one that is formatted once.

Raw, because a machine that has taken over its QEMU can rewrite a qcow2 header, which host tools would have to trust.
What is on a disk is never looked at here: a tenant can put there whatever breaks a file system's parser.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from subclaw.core.errors import Conflict, Corrupt, Exhausted, Invalid, SubclawError, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.machines.disks.copies import copy_sparse, sync_folder
from subclaw_guest.setup import DURABLE, SPARES

DISK_BYTES = 8 * 1024**3
MOST_DISK_BYTES = 200 * 1024**3
"""How large a disk may become: as far as growing a mounted one was tried."""

BLOCK_BYTES = 4096
DISK = "disk.raw"
FORMAT = "ext4-8GiB-4"
"""Names the formatted disk in the cache; changes with the options and folders below."""

FORMAT_OPTIONS = (
    *("-q", "-F", "-m0", "-Ldisk", "-Jsize=16", "-O^resize_inode"),
    "-Elazy_itable_init=1,lazy_journal_init=1,nodiscard",
)
"""A small journal, nothing kept back for root, nothing written that reads as zeros anyway.

Nothing is kept back for growing in place either, and it grows all the same: Linux then puts the descriptors of new
block groups among those groups (meta_bg). It was tried mounted, with Linux 6.1, to 200 GiB.
"""

FOLDERS = ("os/upper", "os/work", *(f"os/spare/{number}" for number in range(SPARES)), *DURABLE)
"""What the agent would make on a new disk, at the cost of a tenth of a wake."""


def formatted_disk(cache: Path) -> Path:
    """Return the empty, formatted disk that tenants' disks are copied from, made if need be. Raises `Unavailable`."""
    path = cache / "disks" / f"{FORMAT}.raw"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as folder:
            made, content = Path(folder) / path.name, Path(folder) / "content"
            made.touch(mode=0o600)
            os.truncate(made, DISK_BYTES)
            for name in FOLDERS:
                (content / name).mkdir(parents=True, mode=0o755)
            subprocess.run(
                ["mkfs.ext4", *FORMAT_OPTIONS, "-d", str(content), str(made)],
                check=True,
                capture_output=True,
                env={**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"},
            )
            made.rename(path)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable("A disk for machines cannot be formatted.", internal=str(error)) from error
    return path


def folder_of(home: Path, tenant_id: TenantId) -> Path:
    """Return where a tenant's disk is kept."""
    return home / "machines" / str(int(tenant_id))


def make_disk(folder: Path, formatted: Path) -> Path:
    """Return the disk of a tenant of whom nothing is recorded yet, made if there is none. Raises `OSError`.

    One that is there is kept: it is whole, and the host stopped before the record was written.
    """
    disk = folder / DISK
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700)
        sync_folder(folder.parent)
    if not disk.exists():
        copy_sparse(formatted, disk)
    return disk


def existing_disk(folder: Path) -> Path:
    """Return the disk of a tenant who must have one. Raises `Corrupt` if it is missing."""
    disk = folder / DISK
    if not disk.exists():
        raise Corrupt("The machine's disk is missing.", internal=f"no disk in {folder}")
    return disk


def open_disk(disk: Path) -> int:
    """Open a disk for one QEMU, and lock it (flock(2)) for as long as that has it open. Raises `OSError`.

    Raises `Conflict` if another has it: however it came to be started, a second machine never gets the disk.
    """
    descriptor = os.open(disk, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Conflict("The machine's disk is in use.", internal=f"{disk} is locked") from error
    return descriptor


def grow(disk: Path, size_bytes: int) -> None:
    """Make a disk larger; nothing happens if it has that size already. The file stays sparse.

    The file system on it is grown by the machine. Raises `Invalid` if the size is smaller, too large or not a multiple
    of 4096, `Exhausted` if the host's disk is full.
    """
    try:
        with disk.open("r+b") as file:
            present_bytes = os.fstat(file.fileno()).st_size
            if not present_bytes <= size_bytes <= MOST_DISK_BYTES or size_bytes % BLOCK_BYTES:
                raise Invalid(
                    f"A disk can only be made larger, to at most {MOST_DISK_BYTES // 1024**3} GiB.",
                    internal=f"{disk}: from {present_bytes} to {size_bytes} bytes",
                )
            if size_bytes > present_bytes:
                os.truncate(file.fileno(), size_bytes)
                os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(error) from error


def used_bytes(folder: Path) -> int:
    """Return what a tenant's files take up on the host's disk, checkpoints included; 0 if there are none.

    A file of several names counts once. Blocks that files share where the file system can do that count for each file.
    """
    blocks: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except FileNotFoundError:
                continue  # it was removed just now
            blocks[found.st_dev, found.st_ino] = found.st_blocks
    return sum(blocks.values()) * 512


def erase(home: Path, tenant_id: TenantId) -> None:
    """Remove a tenant's disk and all that is recorded of it. Nothing happens if there is none. Raises `OSError`."""
    folder = folder_of(home, tenant_id)
    if folder.exists():
        shutil.rmtree(folder)


def disk_error(error: OSError) -> SubclawError:
    """Put a failure of the host's own disk into words."""
    return Exhausted("The host's disk is full or cannot be written.", internal=str(error))
