"""A machine's memory, as its host sees it: a template's, kept as a sealed file in memory, and what differs from it.

QEMU maps a template's memory privately, so the pages that a machine has written to are QEMU's own (proc(5), pagemap).
They, and no others, are what a machine's memory consists of beside its template; they are read from and written to the
process while the machine is stopped. Nothing is made of what is in them.
"""

import array
import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from subclaw.core.errors import Corrupt, Unavailable
from subclaw.machines.disks.copies import data_ranges

PAGE_BYTES = mmap.PAGESIZE
PIECE_BYTES = 64 * 1024
"""How much is read at once. Pieces of megabytes are no faster, and leave holes in this process's own memory."""

PRESENT_OR_SWAPPED = 0b11 << 62
OF_A_FILE = 1 << 61
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
PR_SET_THP_DISABLE = 41
NAME = "subclaw-template"
NUMBER = array.array("I").itemsize


def use_small_pages() -> None:
    """Have this process and all that it starts use no huge pages, of which QEMU would fill none (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def blank_memory(size_mb: int) -> int:
    """Return a new file in memory, of zeros, for a machine to run in."""
    descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_mb * 1024**2)
    return descriptor


def keep_memory(descriptor: int, target: Path) -> None:
    """Write memory to a file, in which pages of zeros are holes. Raises `OSError`."""
    zeros = bytes(PAGE_BYTES)
    with target.open("wb") as file:
        size = os.fstat(descriptor).st_size
        file.truncate(size)
        for start, end in data_ranges(descriptor):
            for offset in range(start, end, PAGE_BYTES):
                page = os.pread(descriptor, PAGE_BYTES, offset)
                if page != zeros:
                    os.pwrite(file.fileno(), page, offset)
        os.fsync(file.fileno())


def load_memory(source: Path) -> int:
    """Return a template's memory from its file: in memory, and sealed, so that no machine can change it.

    Raises `OSError`.
    """
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            for start, end in data_ranges(file.fileno()):
                while start < end:
                    piece = os.pread(file.fileno(), min(PIECE_BYTES, end - start), start)
                    start += os.pwrite(descriptor, piece, start)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def reopened(descriptor: int) -> int:
    """Open a sealed memory anew, for a machine to map privately."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


def keep_changes(process_id: int, template: int, target: Path) -> None:
    """Write the pages that a stopped machine has changed to a file: their number, their numbers, and the pages.

    Raises `OSError`, `Unavailable` if the process is not one with the template's memory.
    """
    start, size = region(process_id, template)
    with process_memory(process_id, os.O_RDONLY) as memory, target.open("wb") as file:
        # Read twice, since it stands still: what is written may be large, and stays here only piece by piece.
        pages = list(changed_pages(process_id, memory, template, start, size))
        file.write(array.array("I", [len(pages), *pages]).tobytes())
        for first, end in runs(pages):
            file.write(read_whole(memory, (end - first) * PAGE_BYTES, start + first * PAGE_BYTES))
        file.flush()
        os.fsync(file.fileno())


def changed_pages(process_id: int, memory: int, template: int, start: int, size: int) -> Iterator[int]:
    """Yield the pages of a stopped machine that are not as in the template. Raises `OSError`."""
    with mmap.mmap(template, size, prot=mmap.PROT_READ) as unchanged:
        for first, end in runs(written_pages(process_id, start, size)):
            content = read_whole(memory, (end - first) * PAGE_BYTES, start + first * PAGE_BYTES)
            for page in range(first, end):
                here, there = (page - first) * PAGE_BYTES, page * PAGE_BYTES
                if content[here : here + PAGE_BYTES] != unchanged[there : there + PAGE_BYTES]:
                    yield page


def bring_changes(process_id: int, template: int, source: Path) -> None:
    """Write the pages of a file into a machine that has not begun to run.

    Raises `OSError`, `Corrupt` if the file is not whole, `Unavailable` if the process is not one with the template's
    memory.
    """
    start, size = region(process_id, template)
    with source.open("rb") as file, process_memory(process_id, os.O_RDWR) as memory:
        pages = read_page_numbers(file.fileno(), size // PAGE_BYTES)
        offset = (1 + len(pages)) * NUMBER
        for first, end in runs(pages):
            content = read_whole(file.fileno(), (end - first) * PAGE_BYTES, offset)
            if os.pwrite(memory, content, start + first * PAGE_BYTES) != len(content):
                raise Unavailable("The machine could not be restored.", internal="its memory cannot be written")
            offset += len(content)


def read_page_numbers(descriptor: int, limit: int) -> Sequence[int]:
    """Read the numbers of the pages in a file, ascending. Raises `Corrupt`."""
    head = os.pread(descriptor, NUMBER, 0)
    count = int.from_bytes(head, "little")
    pages = array.array("I", os.pread(descriptor, min(count, limit) * NUMBER, NUMBER))
    whole = len(head) == NUMBER and os.fstat(descriptor).st_size == NUMBER * (1 + count) + PAGE_BYTES * count
    ascending = all(before < after for before, after in pairwise(pages))
    if not whole or not ascending or len(pages) != count or (pages and pages[-1] >= limit):
        raise Corrupt("The machine's memory is broken.", internal=f"{count} pages in a file of another size")
    return pages


def written_pages(process_id: int, start: int, size: int) -> Iterator[int]:
    """Yield the pages that a process has of its own, where the others are a file's. Raises `OSError`."""
    entries = array.array("Q")
    with open(f"/proc/{process_id}/pagemap", "rb", buffering=0) as pagemap:
        entries.frombytes(read_whole(pagemap.fileno(), size // PAGE_BYTES * 8, start // PAGE_BYTES * 8))
    return (page for page, entry in enumerate(entries) if entry & PRESENT_OR_SWAPPED and not entry & OF_A_FILE)


def runs(pages: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Put ascending pages that follow each other together: the first, and the one after the last."""
    most = PIECE_BYTES // PAGE_BYTES
    first = end = -1
    for page in pages:
        if page == end and end - first < most:
            end += 1
            continue
        if end > first:
            yield first, end
        first, end = page, page + 1
    if end > first:
        yield first, end


def region(process_id: int, template: int) -> tuple[int, int]:
    """Return where a process has a template's memory, and its size in bytes. Raises `OSError`, `Unavailable`."""
    status = os.fstat(template)
    with open(f"/proc/{process_id}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            addresses, _, _, _, inode = line.split()[:5]
            start, end = (int(part, 16) for part in addresses.split("-"))
            if int(inode) == status.st_ino and NAME in line and end - start == status.st_size:
                return start, status.st_size
    raise Unavailable("The machine's memory is not known.", internal=f"process {process_id} has no template's memory")


@contextmanager
def process_memory(process_id: int, flags: int) -> Iterator[int]:
    """Open the memory of a process for the length of the block. Raises `OSError`."""
    descriptor = os.open(f"/proc/{process_id}/mem", flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_whole(descriptor: int, size: int, offset: int) -> bytes:
    """Read exactly `size` bytes. Raises `OSError`."""
    content = os.pread(descriptor, size, offset)
    if len(content) != size:
        raise OSError(f"{len(content)} of {size} bytes could be read")
    return content
