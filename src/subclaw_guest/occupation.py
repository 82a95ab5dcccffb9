"""What a machine is kept busy with: the tenant's own processes, and for how long it claims to be kept awake.

A claim is an empty file in `CLAIMS` that `stay-awake` makes, named END-HOLDER: END is in seconds of the clock that
/proc/uptime shows, and HOLDER the process without which the claim is void, or 0. That clock stands still while the
machine sleeps with its memory and does not care what the time of day is set to, so that a claim is one to time awake.
"""

import os
import re
import time
from collections.abc import Collection, Iterable
from itertools import islice

CLAIMS = "/run/subclaw/stay-awake"
CLAIM = re.compile("([0-9]{1,12})-([0-9]{1,8})")
CLAIMS_LIMIT = 64
CLAIM_LIMIT_S = 7 * 86_400
KERNEL_THREAD = 0x0020_0000
"""PF_KTHREAD (include/linux/sched.h)."""


def count_processes(sessions: Collection[int]) -> int:
    """Count the processes that are the tenant's: all but this one, the kernel's, those that ended, and these sessions'.

    One that was there all the time is counted: the list of all, unlike their tree, misses none that moves.
    """
    count = 0
    for name in os.listdir("/proc"):
        if name.isdecimal() and name != "1":
            try:
                with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    count += is_tenants(file.read(1_024), sessions)
            except (FileNotFoundError, ProcessLookupError):
                continue
    return count


def is_tenants(line: bytes, sessions: Collection[int]) -> bool:
    """Judge a process by its line in /proc/PID/stat (proc(5)). Its name, in parentheses, may hold anything."""
    state, _, _, session, _, _, flags, *_ = line.rpartition(b")")[2].split()
    return state not in (b"Z", b"X") and not int(flags) & KERNEL_THREAD and int(session) not in sessions


def claim_s() -> float:
    """Return for how many more seconds the longest claim is, 0 if there is none."""
    try:
        with os.scandir(CLAIMS) as entries:
            names = [entry.name for entry in islice(entries, CLAIMS_LIMIT)]
    except OSError:
        return 0.0
    left_s = last_end_s(names) - time.clock_gettime(time.CLOCK_BOOTTIME)
    return min(max(0.0, left_s), float(CLAIM_LIMIT_S))


def last_end_s(names: Iterable[str]) -> int:
    """Return when the last claim ends whose holder is there, 0 if there is none. What is no claim's name is none."""
    claims = [match for name in names if (match := CLAIM.fullmatch(name))]
    return max((int(end) for end, holder in (claim.groups() for claim in claims) if is_there(holder)), default=0)


def is_there(holder: str) -> bool:
    """Say whether a claim has no holder that it needs, or one that has not ended."""
    return holder == "0" or os.path.exists(f"/proc/{holder}")
