"""Seats: what each QEMU process has to itself on this host besides its files: a user's number, limits, and a record."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.machines.cgroups.group import ControlGroup
from subclaw.machines.cgroups.groups import ControlGroups
from subclaw.machines.cgroups.limits import Limits
from subclaw.machines.qemu.jail import USERS_PER_HOME, Jail
from subclaw.machines.qemu.processes import forget_process, process_name, record_process

SEATS = "seats"
OVERHEAD_MB = 224
"""What QEMU takes beside the machine's memory: 64 for translated code, about 130 of its own; less makes it thrash."""

PROCESSES = 64
"""QEMU's threads, and the two processes that hold its jail; a machine's own processes are inside it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Share:
    """How much of the host's processors and disk one machine may use; see `Limits`."""

    cpu_cores: float = 1.0
    cpu_weight: int = 100
    disk_bytes_s: int = 200 * 1024**2
    disk_operations_s: int = 5_000


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A place for one QEMU process. `name` is the process's own, `user` the number it runs as, and nobody else does."""

    name: str
    user: int
    folder: Path
    group: ControlGroup

    def take(self, process_id: int) -> None:
        """Put a process that has not begun into its group, and on record. Raises `Unavailable`, `OSError`."""
        self.group.add(process_id)
        record_process(self.folder, self.name, process_id)


class Seats:
    """The seats of a host."""

    def __init__(self, home: Path, jail: Jail, groups: ControlGroups, memory_mb: int, share: Share) -> None:
        self._home = home
        self._jail = jail
        self._groups = groups
        self._taken: set[int] = set()
        self._starts = 0
        self._limits = Limits(
            memory_bytes=(memory_mb + OVERHEAD_MB) * 1024**2,
            processes=PROCESSES,
            cpu_cores=share.cpu_cores,
            cpu_weight=share.cpu_weight,
            disk_bytes_s=share.disk_bytes_s,
            disk_operations_s=share.disk_operations_s,
        )

    @contextmanager
    def taken(self) -> Iterator[Seat]:
        """Take a seat until the block ends, when nothing may run there any more. Raises `Unavailable`."""
        number = next((number for number in range(USERS_PER_HOME) if number not in self._taken), None)
        if number is None:
            raise Unavailable("All machines of this host are busy.", internal="every seat is taken")
        self._starts += 1
        name = process_name(self._home, number, self._starts)
        folder = self._home / SEATS / str(number)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable("The machine could not be started.", internal=str(error)) from error
        group = self._groups.make(name, self._limits)
        self._taken.add(number)
        try:
            yield Seat(name=name, user=self._jail.first_user + number, folder=folder, group=group)
        finally:
            forget_process(folder)
            self._leave(number, group)

    def _leave(self, number: int, group: ControlGroup) -> None:
        try:
            group.remove()
        except SubclawError as error:
            # The seat stays taken: something may still run there.
            logger.error("seat %d cannot be given up: %s", number, error.internal)
        else:
            self._taken.discard(number)
