"""How many machines a host may have awake: never more than it has memory and processors for."""

from pathlib import Path

from subclaw.machines.qemu.seats import OVERHEAD_MB

KEPT_SHARE = 0.25
KEPT_MB = 768
"""What is kept of the host's memory for everything else: a quarter, and not less than this."""

MACHINES_PER_CORE = 16
"""How thinly a core may be spread: each machine that is awake is promised a sixteenth of one."""


def most_awake(host_memory_mb: int, cores: int, machine_memory_mb: int) -> int:
    """Return how many machines a host may have awake, those that wait in the pool included; at least one."""
    kept_mb = max(KEPT_MB, round(host_memory_mb * KEPT_SHARE))
    by_memory = (host_memory_mb - kept_mb) // (machine_memory_mb + OVERHEAD_MB)
    return max(1, min(by_memory, cores * MACHINES_PER_CORE))


def host_memory_mb() -> int:
    """Return how much memory this host has."""
    first = Path("/proc/meminfo").read_text("ascii").splitlines()[0]
    return int(first.split()[1]) // 1024
