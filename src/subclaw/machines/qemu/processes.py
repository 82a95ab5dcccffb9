"""QEMU processes on record: a file for each that runs, so that a host that starts again can end what it left behind."""

import contextlib
import hashlib
import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

PROCESS = "qemu.json"
GONE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """A QEMU process. `started` is its start time in clock ticks since the host's boot (proc(5), field 22)."""

    process_id: int
    started: int
    name: str


def process_name(home: Path, seat: int, start: int) -> str:
    """Return the name of a QEMU process, one on its box: two hosts have seats of the same number."""
    return f"{name_prefix(home)}{seat}-{start}"


def name_prefix(home: Path) -> str:
    """Return what the names of all QEMU processes of a host's home folder begin with."""
    return f"subclaw-{hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]}-"


def record_process(folder: Path, name: str, process_id: int) -> None:
    """Write down a process that was just started. Raises `OSError`."""
    started = start_time(process_id)
    if started is not None:
        record = ProcessRecord(process_id=process_id, started=started, name=name)
        (folder / PROCESS).write_text(json.dumps(asdict(record)), "utf-8")


def forget_process(folder: Path) -> None:
    """Remove the record of a process that is gone."""
    with contextlib.suppress(FileNotFoundError):
        (folder / PROCESS).unlink()


def end_orphans(seats: Path) -> int:
    """Kill every recorded process that still runs, and wait until each is gone; return how many there were.

    A process is only ended if its start time and its command line prove that it is the one on record: numbers are used
    again. Call it before any machine is started, with no other host using the folder.
    """
    ended = 0
    for path in sorted(seats.glob(f"*/{PROCESS}")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            ended += end_process(ProcessRecord(**json.loads(path.read_bytes())))
        forget_process(path.parent)
    return ended


def end_process(record: ProcessRecord) -> bool:
    """Kill a process if it is the one on record, and wait until it is gone."""
    try:
        descriptor = os.pidfd_open(record.process_id)
    except OSError:
        return False
    try:
        # Looked at after the descriptor was opened, so that what is looked at is what is killed.
        if start_time(record.process_id) != record.started or record.name not in command_line(record.process_id):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(GONE_S * 1000)
        return True
    finally:
        os.close(descriptor)


def start_time(process_id: int) -> int | None:
    """Return when a process was started; None if there is no such process."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def command_line(process_id: int) -> list[str]:
    """Return a process's arguments; none if it is gone."""
    try:
        return Path(f"/proc/{process_id}/cmdline").read_text("utf-8", errors="replace").split("\0")
    except OSError:
        return []


def memory_of(process_id: int) -> int | None:
    """Return a process's memory in bytes, its part of what is shared included (PSS); None if it is gone."""
    try:
        lines = Path(f"/proc/{process_id}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)


def processor_time_of(process_id: int) -> float | None:
    """Return the processor time that a process has used, in seconds; None if it is gone."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
