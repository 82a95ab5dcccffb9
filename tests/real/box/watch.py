"""A watch over processes: every QEMU of a box that is started while it lasts, however short its life."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from subclaw.machines.qemu.processes import name_prefix

INTERVAL_S = 0.01


@dataclass(kw_only=True)
class QemuWatch:
    """The names of machines' processes that began while it watched, and how often it looked."""

    started: set[str] = field(default_factory=set)
    looks: int = 0


@contextmanager
def watching_qemu(home: Path) -> Iterator[QemuWatch]:
    """Watch all processes of this host for the life of the block."""
    watch, over = QemuWatch(), threading.Event()
    before = qemu_names(home)

    def look() -> None:
        while not over.is_set():
            watch.started |= qemu_names(home) - before
            watch.looks += 1
            time.sleep(INTERVAL_S)

    thread = threading.Thread(target=look, name="QEMU watch")
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        watch.started |= qemu_names(home) - before


def qemu_names(home: Path) -> set[str]:
    """Return the names of the QEMU processes that belong to a box's machines, which carry a number for each start."""
    prefix, names = name_prefix(home), set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if comm.read_text().startswith("qemu-system"):
                command = (comm.parent / "cmdline").read_text().split("\0")
                names |= {argument for argument in command if argument.startswith(prefix)}
    return names
