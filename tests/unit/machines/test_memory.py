"""A machine's memory beside its template: with a process that maps a template as QEMU does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Corrupt, Unavailable
from subclaw.machines.qemu.memory import (
    PAGE_BYTES,
    blank_memory,
    bring_changes,
    keep_changes,
    keep_memory,
    load_memory,
    reopened,
    runs,
)

SIZE_MB = 4
PAGES = SIZE_MB * 1024**2 // PAGE_BYTES

MACHINE = """
import mmap, sys
memory = mmap.mmap(int(sys.argv[1]), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
print("mapped", flush=True)
for line in sys.stdin:
    action, page, *text = line.split()
    start = int(page) * mmap.PAGESIZE
    if action == "write":
        memory[start : start + 5] = text[0].encode()
    print(memory[start : start + 5].decode("latin-1"), flush=True)
"""


class Machine:
    """A process with a template's memory, which writes and reads five bytes at the start of a page."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process_id = process.pid
        self._process = process

    def say(self, line: str) -> str:
        """Tell it what to do, and return what is at that page then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip("\n")


@contextmanager
def machine(template: int) -> Iterator[Machine]:
    descriptor = reopened(template)
    command = [sys.executable, "-c", MACHINE, str(descriptor)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(descriptor,)
    ) as process:
        os.close(descriptor)
        assert process.stdout is not None
        assert process.stdout.readline() == "mapped\n"
        yield Machine(process)
        process.kill()


@pytest.fixture
def template(tmp_path: Path) -> Iterator[int]:
    """A template with something in its pages 1 and 7."""
    blank = blank_memory(SIZE_MB)
    for page in (1, 7):
        os.pwrite(blank, b"first", page * PAGE_BYTES)
    os.pwrite(blank, bytes(PAGE_BYTES), 100 * PAGE_BYTES)
    keep_memory(blank, tmp_path / "memory")
    os.close(blank)
    template = load_memory(tmp_path / "memory")
    yield template
    os.close(template)


def test_template_holds_what_is_in_use_and_cannot_be_written(tmp_path: Path, template: int) -> None:
    assert (tmp_path / "memory").stat().st_blocks * 512 <= 4 * PAGE_BYTES
    assert os.fstat(template).st_size == SIZE_MB * 1024**2
    assert os.pread(template, 5, 7 * PAGE_BYTES) == b"first"
    descriptor = os.open(f"/proc/self/fd/{template}", os.O_RDWR)
    with pytest.raises(PermissionError):
        os.write(descriptor, b"x")
    os.close(descriptor)


def test_what_a_machine_changed_is_brought_to_another(tmp_path: Path, template: int) -> None:
    with machine(template) as first:
        assert first.say("read 1") == "first"
        for page in (0, 7, 8, 9, PAGES - 1):
            first.say(f"write {page} mine{page % 10}")
        first.say("write 1 first")
        keep_changes(first.process_id, template, tmp_path / "pages")
    assert (tmp_path / "pages").stat().st_size == 6 * 4 + 5 * PAGE_BYTES, "a page that is as it was is left out"
    with machine(template) as second:
        bring_changes(second.process_id, template, tmp_path / "pages")
        for page in (0, 7, 8, 9, PAGES - 1):
            assert second.say(f"read {page}") == f"mine{page % 10}"
        assert second.say("read 1") == "first"
        assert second.say("read 2") == "\0" * 5


def test_machines_share_nothing_that_they_write(template: int) -> None:
    with machine(template) as one, machine(template) as other:
        one.say("write 1 other")
        assert other.say("read 1") == "first"


@pytest.mark.parametrize(
    "content",
    [b"", b"\1", b"\1\0\0\0", b"\1\0\0\0\1\0\0\0short", b"\xff\xff\xff\xff", b"\2\0\0\0\5\0\0\0\4\0\0\0" + bytes(8192)],
    ids=["empty", "half a number", "no pages", "half a page", "more than there can be", "descending"],
)
def test_pages_that_are_not_whole_are_refused(tmp_path: Path, template: int, content: bytes) -> None:
    (tmp_path / "pages").write_bytes(content)
    with machine(template) as one:
        with pytest.raises(Corrupt):
            bring_changes(one.process_id, template, tmp_path / "pages")
        assert one.say("read 1") == "first"


def test_page_beyond_the_memory_is_refused(tmp_path: Path, template: int) -> None:
    (tmp_path / "pages").write_bytes(b"\1\0\0\0" + PAGES.to_bytes(4, "little") + bytes(PAGE_BYTES))
    with machine(template) as one, pytest.raises(Corrupt):
        bring_changes(one.process_id, template, tmp_path / "pages")


def test_process_without_the_template_is_none_of_ours(tmp_path: Path, template: int) -> None:
    with pytest.raises(Unavailable):
        keep_changes(os.getpid(), template, tmp_path / "pages")


@given(st.sets(st.integers(0, 5_000)))
def test_runs_are_the_same_pages(pages: set[int]) -> None:
    found = list(runs(sorted(pages)))
    assert [page for first, end in found for page in range(first, end)] == sorted(pages)
    assert all(0 < end - first <= 1_024 for first, end in found)
