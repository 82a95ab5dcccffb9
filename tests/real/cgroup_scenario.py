"""What control groups do to real processes: `python cgroup_scenario.py NAME FOLDER` prints what happened, as JSON.

A program of its own that needs nothing but Python and the modules under test, so that it runs on this host, whatever
its control groups, and in a machine, which has version 2's.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from subclaw.core.errors import Unavailable
from subclaw.machines.cgroups.files import write
from subclaw.machines.cgroups.group import ControlGroup
from subclaw.machines.cgroups.groups import ControlGroups, open_groups
from subclaw.machines.cgroups.limits import MAIN_FILES, PERIOD_US, Limits
from subclaw.machines.cgroups.places import Resource, survey

MIB = 1024**2
PATIENCE_S = 60.0
LIMITS = Limits(
    memory_bytes=64 * MIB,
    cpu_cores=0.5,
    cpu_weight=100,
    processes=16,
    disk_bytes_s=1000 * MIB,
    disk_operations_s=100_000,
)

BEGIN = """
import mmap, os, sys, time
sys.stdin.read(1)
began = time.monotonic()
"""
EAT = """
content = bytearray()
while len(content) < 100_000_000:
    content += b"x" * 1_000_000
print("eaten", flush=True)
"""
BOMB = """
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
SPIN = """
while True:
    pass
"""
READ = """
buffer = mmap.mmap(-1, 65536)
descriptor = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
while os.readv(descriptor, [buffer]):
    pass
print(time.monotonic() - began, flush=True)
"""
WRITE = """
descriptor = os.open(sys.argv[1] + ".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
for _ in range(32):
    os.write(descriptor, bytes(65536))
os.fsync(descriptor)
print(time.monotonic() - began, flush=True)
"""


@contextlib.contextmanager
def group_in(folder: Path, limits: Limits = LIMITS) -> Iterator[tuple[ControlGroups, ControlGroup]]:
    """Make a group for a block, and leave nothing behind."""
    with contextlib.ExitStack() as stack:
        groups = open_groups(folder)
        stack.callback(groups.close)
        group = groups.make("scenario", limits)
        stack.callback(group.remove)
        stack.callback(group.kill)
        yield groups, group


@contextlib.contextmanager
def started(group: ControlGroup, program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program, which is put in the group before it begins."""
    command = [sys.executable, "-c", BEGIN + program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            group.add(process.pid)
            assert process.stdin is not None
            process.stdin.write(".")
            process.stdin.close()
            yield process
        finally:
            group.kill()


def said(process: subprocess.Popen[str]) -> str:
    """Return what a program printed, when it has ended."""
    assert process.stdout is not None
    process.wait(PATIENCE_S)
    return process.stdout.read().strip()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.02)


def refusal(action: Callable[[], object]) -> str:
    """Return the words in which something is refused; none if it is not."""
    try:
        action()
    except Unavailable as error:
        return error.public
    return ""


def figures(group: ControlGroup, resource: Resource, name: str) -> dict[str, int]:
    """Return the numbers in a file of a group."""
    lines = (group.seats[resource].folder / name).read_text("ascii").splitlines()
    return {word: int(number) for word, number in (line.split()[:2] for line in lines)}


def memory(folder: Path) -> Any:
    """A process eats 100 MB where 64 MiB are allowed, and where 160 are."""
    with group_in(folder) as (_, group):
        with started(group, EAT) as first:
            first_said, usage = said(first), group.usage()
        group.set_limits(dataclasses.replace(LIMITS, memory_bytes=160 * MIB))
        with started(group, EAT) as second:
            return {
                "said": [first_said, said(second)],
                "statuses": [first.returncode, second.returncode],
                "usage": dataclasses.asdict(usage),
            }


def processes(folder: Path) -> Any:
    """Processes double as fast as they can, and are ended in the middle of it."""
    with group_in(folder) as (_, group), started(group, BOMB) as process:
        events = group.seats[Resource.PROCESSES].folder / "pids.events"
        wait_for(lambda: int(events.read_text("ascii").split()[1]) > 100)
        most = max(len(group.process_ids()) for _ in range(50))
        in_use = refusal(group.remove)
        group.kill()
        return {
            "most": most,
            "in_use": in_use,
            "left": sorted(group.process_ids()),
            "status": process.wait(PATIENCE_S),
            "gone": refusal(lambda: group.add(process.pid)),
        }


def cpu(folder: Path) -> Any:
    """A process calculates without end until it was held back ten times, and for twenty rations of processor time."""
    with group_in(folder, dataclasses.replace(LIMITS, cpu_cores=0.2)) as (_, group), started(group, SPIN):
        # Where others leave it too little to use its ration up, it takes more periods until then.
        wait_for(lambda: figures(group, Resource.CPU, "cpu.stat")["nr_throttled"] >= 10)
        wait_for(lambda: figures(group, Resource.CPU, "cpu.stat")["nr_periods"] >= 20)
        used_s = group.usage().cpu_s
        stat = figures(group, Resource.CPU, "cpu.stat")
        assert used_s is not None
        rations = used_s * 1e6 / (0.2 * PERIOD_US)
        return {"rations": rations, "periods": stat["nr_periods"]}


def disk(folder: Path) -> Any:
    """Two MiB are read from the disk, and written and synced to a new file, at one MiB a second.

    A new one, since version 2 takes what is written back for the first writer's until it sees that another writes.
    """
    file = folder / "content"
    file.write_bytes(os.urandom(2 * MIB))
    with group_in(folder, dataclasses.replace(LIMITS, disk_bytes_s=MIB)) as (_, group):
        result: dict[str, Any] = {"version": group.seats[Resource.DISK].version}
        for name, program in (("read_s", READ), ("write_s", WRITE)):
            os.sync()
            with started(group, program, str(file)) as process:
                result[name] = float(said(process))
    return result


def restart(folder: Path) -> Any:
    """A host ends without cleaning up, and the next one finds, ends and removes what it left."""
    with group_in(folder) as (first, group), started(group, SPIN) as process:
        empty = first.make("empty", LIMITS)
        taken = refusal(lambda: first.make("empty", LIMITS))
        second = open_groups(folder)
        found = second.left_over()
        for left in found:
            left.kill()
            left.remove()
        return {
            "found": [left.name for left in found],
            "status": process.wait(PATIENCE_S),
            "taken": taken,
            "after": [left.name for left in second.left_over()],
            "folders": [str(path) for path in (*group.folders, *empty.folders) if path.exists()],
        }


def narrow(folder: Path) -> Any:
    """A group is made below one that allows less processor time."""
    groups = open_groups(folder)
    seat = groups.seats[Resource.CPU]
    file = MAIN_FILES[Resource.CPU, seat.version]
    write(seat.folder / file, "20000" if seat.version == 1 else f"20000 {PERIOD_US}")
    with group_in(folder) as (_, group):
        return {"version": seat.version, "quota": (group.seats[Resource.CPU].folder / file).read_text("ascii").strip()}


def refused(folder: Path) -> Any:
    """Limits are wanted that make no sense."""
    with group_in(folder) as (groups, _):
        reason = refusal(lambda: groups.make("refused", dataclasses.replace(LIMITS, processes=-1)))
        return {"reason": reason, "left": [left.name for left in groups.left_over()]}


def places(folder: Path) -> Any:
    """Say what was found, and what opening made of it."""
    found, groups = survey(folder), open_groups(folder)
    groups.close()
    return {
        "survey": {resource: [place.version, str(place.folder)] for resource, place in found.places.items()},
        "missing": found.missing,
        "opened": {resource: [seat.version, str(seat.folder)] for resource, seat in groups.seats.items()},
        "refused": groups.missing,
        "left": [str(path) for path in groups.folders if path.exists()],
        "disk": found.disk,
    }


SCENARIOS = {
    scenario.__name__: scenario for scenario in (memory, processes, cpu, disk, restart, narrow, refused, places)
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]))))  # noqa: T201
