"""Tenants' disks: a raw sparse file each, copied from one that is formatted once, and what is recorded beside it.

Raw, because a machine that has taken over its QEMU can rewrite a qcow2 header, which host tools would have to trust.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from subclaw.core.errors import Corrupt, Exhausted, SubclawError, Unavailable
from subclaw.core.tenant import TenantId

DISK_BYTES = 8 * 1024**3
DISK = "disk.raw"
RECORD = "machine.json"
PIECE_BYTES = 1024**2
FORMAT_VERSION = 1
FORMAT = "ext4-8GiB-2"
"""Names the formatted disk in the cache; changes with the options below."""

FORMAT_OPTIONS = (
    *("-q", "-F", "-m0", "-Ldisk", "-Jsize=16", "-O^resize_inode"),
    "-Elazy_itable_init=1,lazy_journal_init=1,nodiscard",
)
"""A small journal, nothing kept back for root or for growing in place, nothing written that reads as zeros anyway."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a tenant's disk. `generation` counts its starts; `image` is the golden image it last ran on."""

    version: int
    generation: int
    image: str


def formatted_disk(cache: Path) -> Path:
    """Return the empty, formatted disk that tenants' disks are copied from, made if need be. Raises `Unavailable`."""
    path = cache / "disks" / f"{FORMAT}.raw"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".making-", delete=False) as file:
            os.truncate(file.fileno(), DISK_BYTES)
        made = Path(file.name)
        subprocess.run(
            ["mkfs.ext4", *FORMAT_OPTIONS, str(made)],
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


def start_generation(home: Path, tenant_id: TenantId, formatted: Path, image: str) -> tuple[Path, Record]:
    """Count a start of a tenant's machine and return its disk, made if it has none.

    Nothing but the one machine of this generation may use the disk. Raises `Corrupt` if the record is broken or the
    disk is missing, `Exhausted` if the host's disk is full.
    """
    folder = folder_of(home, tenant_id)
    disk = folder / DISK
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        last = read_record(folder)
        if last is None:
            copy_sparse(formatted, disk)
        elif not disk.exists():
            raise Corrupt("The machine's disk is missing.", internal=f"no disk in {folder}")
        record = Record(version=FORMAT_VERSION, generation=1 + (last.generation if last else 0), image=image)
        write_record(folder, record)
    except OSError as error:
        raise disk_error(error) from error
    return disk, record


def disk_error(error: OSError) -> SubclawError:
    """Put a failure of the host's own disk into words."""
    return Exhausted("The host's disk is full or cannot be written.", internal=str(error))


def read_record(folder: Path) -> Record | None:
    """Return what is recorded of a tenant's disk; None if it has none yet. Raises `Corrupt`, `OSError`."""
    path = folder / RECORD
    try:
        fields = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Corrupt("The record of the machine's disk is broken.", internal=f"{path}: {error}") from error
    try:
        record = Record(**fields)
    except TypeError as error:
        raise Corrupt("The record of the machine's disk is broken.", internal=f"{path}: {error}") from error
    whole = type(record.generation) is int and record.generation > 0 and type(record.image) is str
    if record.version != FORMAT_VERSION or not whole:
        raise Corrupt("The record of the machine's disk is broken.", internal=f"{path}: {fields}")
    return record


def write_record(folder: Path, record: Record) -> None:
    """Replace the record, safely on disk. Raises `OSError`."""
    new = folder / f".{RECORD}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(folder / RECORD)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file and leave its holes out; the copy is there whole or not at all. Raises `OSError`."""
    new = target.with_name(f".{target.name}.new")
    with source.open("rb") as reading, new.open("wb") as writing:
        os.fchmod(writing.fileno(), 0o600)
        os.truncate(writing.fileno(), os.fstat(reading.fileno()).st_size)
        for start, end in data_ranges(reading.fileno()):
            # Read and written, since the kernel's own copying may refuse to cross from one file system to another.
            while piece := os.pread(reading.fileno(), min(PIECE_BYTES, end - start), start):
                start += os.pwrite(writing.fileno(), piece, start)
    new.rename(target)


def data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file that are not holes, as offsets of their first byte and of the first after."""
    size = os.fstat(descriptor).st_size
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: there is no more data
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def erase(home: Path, tenant_id: TenantId) -> None:
    """Remove a tenant's disk and all that is recorded of it. Nothing happens if there is none. Raises `OSError`."""
    folder = folder_of(home, tenant_id)
    if folder.exists():
        shutil.rmtree(folder)
