"""What a control group is told: limits as the contents of the kernel's files, for version 1 and for version 2.

Sources: the kernel's admin-guide/cgroup-v2.rst; admin-guide/cgroup-v1/memory.rst, blkio-controller.rst and pids.rst;
scheduler/sched-bwc.rst.
"""

from dataclasses import dataclass

from subclaw.machines.cgroups.places import Resource

PERIOD_US = 100_000
"""Processor time is rationed by the tenth of a second, the kernel's default."""

MAIN_FILES = {
    (Resource.MEMORY, 1): "memory.limit_in_bytes",
    (Resource.MEMORY, 2): "memory.max",
    (Resource.CPU, 1): "cpu.cfs_quota_us",
    (Resource.CPU, 2): "cpu.max",
    (Resource.PROCESSES, 1): "pids.max",
    (Resource.PROCESSES, 2): "pids.max",
    (Resource.DISK, 1): "blkio.throttle.read_bps_device",
    (Resource.DISK, 2): "io.max",
}
"""The file of each resource and version that bounds it; a kernel that was built without it cannot."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the processes of a group may use together.

    `cpu_cores` is the most at once (1.0 is one core, 0.01 the least), `cpu_weight` their share when cores are short (1
    to 10,000; 100 is ordinary). `processes` counts threads, too. The disk's limits are for reads and for writes, each.
    """

    memory_bytes: int
    cpu_cores: float
    cpu_weight: int
    processes: int
    disk_bytes_s: int
    disk_operations_s: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of a group and what to write. Not every kernel has an `optional` one; `otherwise` is for a refusal."""

    file: str
    text: str
    optional: bool = False
    otherwise: str = ""


def entries(resource: Resource, version: int, limits: Limits, disk: str | None) -> tuple[Entry, ...]:
    """Return what bounds a resource, in the order in which to write it. `disk` is a disk's number, MAJOR:MINOR."""
    match resource:
        case Resource.MEMORY:
            return memory_v1(limits.memory_bytes) if version == 1 else memory_v2(limits.memory_bytes)
        case Resource.CPU:
            return cpu_v1(limits) if version == 1 else cpu_v2(limits)
        case Resource.PROCESSES:
            return (Entry(file="pids.max", text=str(limits.processes)),)
        case Resource.DISK:
            return disk_v1(limits, disk) if version == 1 else disk_v2(limits, disk)


def memory_v1(size_bytes: int) -> tuple[Entry, ...]:
    """Bound memory, and memory and swap together: the second may never be below the first, so it is lifted before."""
    both = "memory.memsw.limit_in_bytes"
    return (
        Entry(file=both, text="-1", optional=True),
        Entry(file="memory.limit_in_bytes", text=str(size_bytes)),
        Entry(file=both, text=str(size_bytes), optional=True),
    )


def memory_v2(size_bytes: int) -> tuple[Entry, ...]:
    """Bound memory, and allow no swap."""
    return (
        Entry(file="memory.swap.max", text="0", optional=True),
        Entry(file="memory.max", text=str(size_bytes)),
    )


def cpu_v1(limits: Limits) -> tuple[Entry, ...]:
    """Bound processor time. Version 1 refuses more than a group above allows; that group's own limit then holds."""
    return (
        Entry(file="cpu.cfs_period_us", text=str(PERIOD_US)),
        Entry(file="cpu.cfs_quota_us", text=str(quota_us(limits)), otherwise="-1"),
        Entry(file="cpu.shares", text=str(limits.cpu_weight * 1024 // 100)),
    )


def cpu_v2(limits: Limits) -> tuple[Entry, ...]:
    """Bound processor time."""
    return (
        Entry(file="cpu.max", text=f"{quota_us(limits)} {PERIOD_US}"),
        Entry(file="cpu.weight", text=str(limits.cpu_weight)),
    )


def quota_us(limits: Limits) -> int:
    """Return the processor time of each period."""
    return round(limits.cpu_cores * PERIOD_US)


def disk_v1(limits: Limits, disk: str | None) -> tuple[Entry, ...]:
    """Bound reads, and writes that are waited for; version 1 does not know whose it is what is written back later."""
    return tuple(
        Entry(file=f"blkio.throttle.{direction}_{unit}_device", text=f"{disk} {most}")
        for direction in ("read", "write")
        for unit, most in (("bps", limits.disk_bytes_s), ("iops", limits.disk_operations_s))
    )


def disk_v2(limits: Limits, disk: str | None) -> tuple[Entry, ...]:
    """Bound reads and writes."""
    size, number = limits.disk_bytes_s, limits.disk_operations_s
    return (Entry(file="io.max", text=f"{disk} rbps={size} wbps={size} riops={number} wiops={number}"),)
