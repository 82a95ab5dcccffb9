"""Looking for secrets as root can: in processes' memory, environments and command lines, and in files."""

import os
import re
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

import psutil

CHUNK_BYTES = 4 * 1024 * 1024


def memory_has(process: psutil.Process, secret: bytes) -> bool:
    """Say whether a process holds these bytes anywhere in the memory that it can write to."""
    with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
        return any(secret in piece for start, end in writable(process) for piece in pieces(memory, start, end, secret))


def writable(process: psutil.Process) -> Iterator[tuple[int, int]]:
    """Return the address ranges that a process can write to."""
    for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line):
            yield int(found[1], 16), int(found[2], 16)


def pieces(memory: FileIO, start: int, end: int, secret: bytes) -> Iterator[bytes]:
    """Read a range in pieces that overlap by the length of what is looked for."""
    for at in range(start, end, CHUNK_BYTES):
        memory.seek(at)
        try:
            yield memory.read(min(CHUNK_BYTES + len(secret), end - at))
        except OSError:  # a range that nothing lies behind
            return


def told_at_start(process: psutil.Process) -> str:
    """Return a process's command line and environment."""
    return "\0".join(process.cmdline()) + Path(f"/proc/{process.pid}/environ").read_text()


def files_with(folder: Path, *secrets: bytes) -> list[Path]:
    """Return the files under a folder that hold any of these bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if any(secret in piece for piece in data_of(path, secrets) for secret in secrets)]


def data_of(path: Path, secrets: Iterable[bytes]) -> Iterator[bytes]:
    """Read a file in pieces that overlap by the length of what is looked for, without the holes of a sparse one."""
    overlap = max(map(len, secrets))
    with open(path, "rb", buffering=0) as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # ENXIO: there is no more data
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            for at in range(start, end, CHUNK_BYTES):
                yield os.pread(file.fileno(), min(CHUNK_BYTES + overlap, end - at), at)
