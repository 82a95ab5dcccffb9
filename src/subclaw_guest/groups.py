"""Control groups of the tenant's commands, so that the agent and a new command have their turn whatever the others do.

The processor is shared evenly by process 1 and all commands together, and what they get by the commands. Without groups
it would be shared by processes, or by sessions of them, and in a machine with a thousand nothing else would answer.
Root in the machine can leave its group or remove it, and then has a machine that answers slowly.
Source: the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

import contextlib
import os

from subclaw_guest.mounts import mount

FOLDER = "/sys/fs/cgroup"
COMMANDS = "commands"
BYTES_OF_A_PROCESS = 1024**2
"""How much memory a machine must have for each process or thread: more could not do much in it."""


class CommandGroups:
    """The groups, open, so that they are found whatever a tenant mounts over them. Raises `OSError`."""

    def __init__(self) -> None:
        # By `favordynmods` a process is moved in half a millisecond; else a move would wait for all processors.
        mount("cgroup2", FOLDER, "cgroup2", options="favordynmods")
        write(f"{FOLDER}/cgroup.subtree_control", "+cpu +pids")
        os.mkdir(f"{FOLDER}/{COMMANDS}")
        write(f"{FOLDER}/{COMMANDS}/cgroup.subtree_control", "+cpu")
        write(f"{FOLDER}/{COMMANDS}/pids.max", str(memory_bytes() // BYTES_OF_A_PROCESS))
        self._folder = os.open(f"{FOLDER}/{COMMANDS}", os.O_PATH | os.O_CLOEXEC)
        self._made = 0
        self._names: set[str] = set()

    def take(self, process_id: int) -> None:
        """Give a process, and those that it will start, a group of its own. Does nothing if it has ended."""
        self._remove_empty()
        self._made += 1
        name = str(self._made)
        with contextlib.suppress(OSError):
            os.mkdir(name, dir_fd=self._folder)
            self._names.add(name)
            write(f"{name}/cgroup.procs", str(process_id), folder=self._folder)

    def _remove_empty(self) -> None:
        for name in tuple(self._names):
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=self._folder)
                self._names.remove(name)


def memory_bytes() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def write(path: str, value: str, *, folder: int | None = None) -> None:
    """Write a setting of the kernel's, whose path may start at an open folder."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)
