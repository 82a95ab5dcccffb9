"""Running other programs and reading what they say, line by line, while they run."""

import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

TICK_S = 0.25
KEPT_LINES = 200
LINE_LIMIT_BYTES = 65_536
INTERRUPT_WAIT_S = 300.0
"""How long an interrupted program may take to leave things in order (apt ends the dpkg run that it is in)."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended, and the last lines that it said."""

    exit_status: int
    lines: Sequence[str]


def ask(argv: Sequence[str]) -> Ended:
    """Run a quick program to its end, and return all that it wrote to its standard output."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60)
    return Ended(exit_status=done.returncode, lines=done.stdout.splitlines())


def follow(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None],
    on_tick: Callable[[], None] = lambda: None,
    environment: Mapping[str, str],
) -> Ended:
    """Run a long program; call `on_line` for each line of its output, and `on_tick` a few times a second.

    The program has a session of its own, so that a Ctrl-C does not cut its children in the middle: it is interrupted
    once, and gets time to end by itself before KeyboardInterrupt goes on.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    assert process.stdout is not None
    try:
        for line in _lines(process.stdout, process):
            if line is None:
                on_tick()
                continue
            kept.append(line)
            on_line(line)
        return Ended(exit_status=process.wait(), lines=tuple(kept))
    except BaseException:
        _end(process)
        raise
    finally:
        process.stdout.close()


def hand_over(argv: Sequence[str], folder: str) -> int:
    """Run a program that draws on the terminal itself, in `folder`, and return its exit status. See `follow`."""
    process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait()
    except BaseException:
        _end(process)
        raise


def _lines(stream: IO[bytes], process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Yield whole lines, and None every TICK_S; end with the stream, or with the program if others hold it."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            has_ended = process.poll() is not None  # asked before the look: what it wrote last must not be missed
            if not selector.select(TICK_S):
                if has_ended:
                    break
                yield None
                continue
            chunk = os.read(stream.fileno(), 65_536)
            if not chunk:
                break
            *whole, pending = (pending + chunk).split(b"\n")
            pending = pending[-LINE_LIMIT_BYTES:]
            yield from (line.decode(errors="replace") for line in whole)
            yield None
    if pending:
        yield pending.decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the program end by itself, else end it: it must not go on when its caller has given up."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr.write("\ninterrupted; letting what runs leave things in order\n")
    try:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=INTERRUPT_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)
