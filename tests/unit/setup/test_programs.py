"""Running programs and following what they say."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from subclaw.setup.programs import follow


@contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Have children heed interrupts, also where these tests themselves were started in the background and do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_lines_come_whole_and_the_last_without_its_end() -> None:
    lines: list[str] = []
    script = "printf 'a\\nb'; printf 'c\\n\\377d'; exit 3"
    done = follow(["/bin/sh", "-c", script], on_line=lines.append, environment=os.environ)
    assert done.exit_status == 3
    assert lines == ["a", "bc", "�d"]
    assert tuple(done.lines) == tuple(lines)


def test_only_the_last_lines_are_kept() -> None:
    done = follow(["/usr/bin/seq", "1000"], on_line=lambda line: None, environment=os.environ)
    assert len(done.lines) == 200
    assert done.lines[-1] == "1000"


def test_a_child_that_holds_the_output_open_does_not_hold_us() -> None:
    began = time.monotonic()
    done = follow(["/bin/sh", "-c", "sleep 20 & echo $!"], on_line=lambda line: None, environment=os.environ)
    os.kill(int(done.lines[0]), signal.SIGKILL)
    assert time.monotonic() - began < 10


def test_an_interrupted_program_may_end_by_itself() -> None:
    """The program gets its interrupt once, and its last words are waited for."""
    script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done"

    def on_line(line: str) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with heeding_interrupts(), pytest.raises(KeyboardInterrupt):
        follow(["/bin/bash", "-c", script], on_line=on_line, environment=os.environ)
    assert time.monotonic() - began < 10


def test_ticks_come_while_the_program_is_silent() -> None:
    ticked = threading.Event()
    read, write = os.pipe()
    os.set_inheritable(read, True)

    def on_tick() -> None:
        if not ticked.is_set():
            ticked.set()
            os.write(write, b"go\n")

    fifo = f"/proc/{os.getpid()}/fd/{read}"
    done = follow(
        ["/bin/sh", "-c", f"head -1 {fifo}"], on_line=lambda line: None, on_tick=on_tick, environment=os.environ
    )
    os.close(read)
    os.close(write)
    assert ticked.is_set()
    assert done.lines == ("go",)
