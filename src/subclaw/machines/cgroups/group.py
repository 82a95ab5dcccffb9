"""One machine's control group: its limits, what is in it, what that has used, and ending it.

Source: the kernel's admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.machines.cgroups.files import PROCESSES_FILE, field, number, remove_folder, words, write
from subclaw.machines.cgroups.limits import Entry, Limits, entries
from subclaw.machines.cgroups.places import Resource

GONE_S = 10.0
PAUSE_S = 0.005


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A group's folder in the hierarchy that bounds a resource, and that hierarchy's version."""

    version: int
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a group has used; None where this host does not count it.

    `memory_kills` is how many of its processes were killed because it had no memory left.
    """

    memory_bytes: int | None
    memory_peak_bytes: int | None
    memory_kills: int | None
    cpu_s: float | None


@dataclass(frozen=True, kw_only=True)
class ControlGroup:
    """One machine's group: a folder in each hierarchy that is used.

    `accounting` is its folder where version 1 counts processor time; `disk` is the number of the disk to bound.
    """

    name: str
    seats: Mapping[Resource, Seat]
    accounting: Path | None
    disk: str | None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Its folders, each once."""
        return distinct(self.seats, self.accounting)

    def set_limits(self, limits: Limits) -> None:
        """Change the limits. Less memory than is used is refused (v1) or kills (v2). Raises `Unavailable`."""
        with in_words("The machine's limits cannot be set.", self.name):
            for resource, seat in self.seats.items():
                for entry in entries(resource, seat.version, limits, self.disk):
                    put(seat.folder, entry)

    def entrances(self) -> tuple[Path, ...]:
        """Return the files to write a process's number to, all of them, to put it in; "0" is the writer itself."""
        return tuple(folder / PROCESSES_FILE for folder in self.folders)

    def add(self, process_id: int) -> None:
        """Put a process in, with its threads; what it starts from then on is in, too. Raises `Unavailable`."""
        with in_words("The machine could not be bounded.", self.name):
            for path in self.entrances():
                write(path, str(process_id))

    def process_ids(self) -> frozenset[int]:
        """Return the processes in it; zombies are not. Raises `Unavailable`."""
        with in_words("The machine's processes are not known.", self.name):
            return frozenset(int(word) for path in self.entrances() for word in words(path))

    def usage(self) -> Usage:
        """Return what it has used. Raises `Unavailable` if the kernel does not say."""
        with in_words("What the machine uses is not known.", self.name):
            return Usage(
                memory_bytes=number_of(self.seats.get(Resource.MEMORY), "memory.usage_in_bytes", "memory.current"),
                memory_peak_bytes=number_of(
                    self.seats.get(Resource.MEMORY), "memory.max_usage_in_bytes", "memory.peak"
                ),
                memory_kills=memory_kills(self.seats.get(Resource.MEMORY)),
                cpu_s=cpu_s(self.seats, self.accounting),
            )

    def kill(self, timeout_s: float = GONE_S) -> None:
        """Kill every process in it, let no other start, and wait for all to end; this blocks. Raises `Unavailable`."""
        deadline = time.monotonic() + timeout_s
        self._stop_growth()
        while process_ids := self.process_ids():
            if time.monotonic() > deadline:
                reason = f"{self.name}: {len(process_ids)} processes do not end"
                raise Unavailable("The machine does not end.", internal=reason)
            for process_id in process_ids:
                self._kill_member(process_id)
            time.sleep(PAUSE_S)

    def remove(self, timeout_s: float = GONE_S) -> None:
        """Remove it once its processes have ended; nothing happens if it is not there. Raises `Unavailable`."""
        deadline = time.monotonic() + timeout_s
        for folder in self.folders:
            with in_words("The machine's control group cannot be removed.", self.name):
                # The kernel may count a process for a moment after it has ended.
                while not remove_folder(folder):
                    if self.process_ids() or time.monotonic() > deadline:
                        raise Unavailable("The machine has not ended.", internal=f"{folder} is in use")
                    time.sleep(PAUSE_S)

    def _stop_growth(self) -> None:
        """Let nothing more start in it, and have the kernel kill it as one where it can (Linux 5.14, version 2)."""
        processes = self.seats.get(Resource.PROCESSES)
        with contextlib.suppress(OSError):
            if processes is not None:
                write(processes.folder / "pids.max", "0")
        for folder in self.folders:
            with contextlib.suppress(OSError):
                if (folder / "cgroup.kill").exists():
                    write(folder / "cgroup.kill", "1")

    def _kill_member(self, process_id: int) -> None:
        try:
            descriptor = os.pidfd_open(process_id)
        except OSError:
            return
        try:
            # Looked at after the descriptor was opened: the number may be another process's by now.
            if process_id in self.process_ids():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def distinct(seats: Mapping[Resource, Seat], accounting: Path | None) -> tuple[Path, ...]:
    """Return the folders of a group, each once."""
    return tuple(dict.fromkeys([*(seat.folder for seat in seats.values()), *([accounting] if accounting else [])]))


def put(folder: Path, entry: Entry) -> None:
    """Write an entry. Raises `OSError`."""
    path = folder / entry.file
    if entry.optional and not path.exists():
        return
    try:
        write(path, entry.text)
    except OSError as error:
        if not entry.otherwise or error.errno != errno.EINVAL:
            raise
        write(path, entry.otherwise)


def number_of(seat: Seat | None, name_v1: str, name_v2: str) -> int | None:
    """Return the number in a file whose name depends on the version. Raises `OSError`, `ValueError`."""
    return number(seat.folder / (name_v1 if seat.version == 1 else name_v2)) if seat else None


def memory_kills(seat: Seat | None) -> int | None:
    """Return how many processes were killed because memory was short. Raises `OSError`, `ValueError`."""
    if seat is None:
        return None
    return field(seat.folder / ("memory.oom_control" if seat.version == 1 else "memory.events"), "oom_kill")


def cpu_s(seats: Mapping[Resource, Seat], accounting: Path | None) -> float | None:
    """Return the processor time used, which each group of version 2 counts. Raises `OSError`, `ValueError`."""
    unified = next((seat.folder for seat in seats.values() if seat.version == 2), None)
    if unified is not None:
        used_us = field(unified / "cpu.stat", "usage_usec")
        return None if used_us is None else used_us / 1e6
    used_ns = number(accounting / "cpuacct.usage") if accounting else None
    return None if used_ns is None else used_ns / 1e9


@contextlib.contextmanager
def in_words(public: str, name: str) -> Iterator[None]:
    """Put what the kernel refuses into words. Raises `Unavailable`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise Unavailable(public, internal=f"{name}: {error}") from error
