"""A machine: the microVM that a tenant's agent borrows, the port through which it is used, the record of its starts.

Whatever implements `Machines` starts the tenant's machine when a call needs it, so no caller ever asks whether it runs.
Everything that comes out of a machine is untrusted bytes, bounded by the limits that the call names.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from subclaw.core.errors import Unavailable
from subclaw.core.site_health import Trouble
from subclaw.core.tenant import TenantId

HOME = "/home/agent"
"""Where the agent's own files live; relative paths are taken from here."""

BEFORE_ROLL_BACK = "before-roll-back"
"""The label of what a disk was before it was last rolled back."""

ENVIRONMENT_LIMIT = 64
ENVIRONMENT_LIMIT_BYTES = 16 * 1024
"""Most variables that a command is given, and most bytes of them, with their names."""

SITE = "/srv/site"
"""Where the agent keeps what its website is made of."""


class Ended(StrEnum):
    """Why a command is no longer running."""

    EXITED = "exited"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A shell command to run in a machine.

    `output_limit_bytes` bounds what is kept of stdout and stderr together: the first half and the last half of it.
    `environment` are variables that it has beside those that every command has, which are not changed by it.
    """

    text: str
    timeout_s: float
    output_limit_bytes: int = 16_384
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Output:
    """A piece of what a command put out. `left_out_bytes` came before it and are not kept."""

    content: bytes
    left_out_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class CommandEnd:
    """How a command ended. `exit_status` is None if it was ended; `output_bytes` counts what was left out, too."""

    ended: Ended
    exit_status: int | None
    output_bytes: int


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """How a command ended. `output` is what was kept of `output_bytes`; `exit_status` is None if it was ended."""

    ended: Ended
    exit_status: int | None
    output: bytes
    output_bytes: int


@dataclass(frozen=True, kw_only=True)
class FileSlice:
    """A part of a file: `content` starts at `offset_bytes`; `size_bytes` is the whole file's."""

    content: bytes
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Match:
    """One line that a search found. `text` is cut to a bounded length."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found; `more` says that there was more than the limit."""

    matches: tuple[Match, ...]
    more: bool


@dataclass(frozen=True, kw_only=True)
class MachineStatus:
    """A machine that is awake on this host. `idle_s` is the time since its last call ended."""

    tenant_id: TenantId
    generation: int
    process_id: int
    image: str
    accelerator: str
    idle_s: float
    awake_s: float


class MachineState(StrEnum):
    """How a machine is on record. One that is asleep with memory goes on where it was; the other boots."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    ASLEEP_WITH_MEMORY = "asleep with memory"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A copy of a machine's disk, to which it can be rolled back. `made_at` has a time zone."""

    label: str
    made_at: datetime
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class MachineStats:
    """What a tenant's machine is and uses, awake or not.

    `disk_used_bytes` is what its disk takes on the host, `disk_size_bytes` the most that it may. `memory_bytes` and
    `processor_s` are those of its QEMU process: None if it sleeps or nobody counts them. `checkpoints` is their number.
    """

    state: MachineState
    generation: int
    image: str
    disk_used_bytes: int
    disk_size_bytes: int
    memory_bytes: int | None
    processor_s: float | None
    checkpoints: int


@dataclass(frozen=True, kw_only=True)
class PortTrial:
    """What came of asking a program for its first page. `status` is HTTP's, None if it did not answer in time."""

    is_listening: bool
    status: int | None = None


async def result_of(pieces: AsyncIterator[Output | CommandEnd]) -> CommandResult:
    """Wait for a command to end, and put together what it put out. Raises what the iterator raises."""
    output = bytearray()
    async for piece in pieces:
        if isinstance(piece, CommandEnd):
            return CommandResult(
                ended=piece.ended, exit_status=piece.exit_status, output=bytes(output), output_bytes=piece.output_bytes
            )
        output += piece.content
    raise Unavailable("The machine did not say how the command ended.")


class Machines(Protocol):
    """The machines of all tenants. Every call wakes the tenant's machine if it sleeps.

    Errors: `Unavailable` if the machine cannot be started, or stopped in the middle of a call (then the outcome of the
    call is unknown, and the next call gets a machine again); `NotFound`, `Invalid` and `Denied` for paths.
    """

    def exec(self, tenant_id: TenantId, command: Command) -> AsyncGenerator[Output | CommandEnd, None]:
        """Run a command with `sh -c` in `HOME`: give its output as it comes, and last how it ended.

        Of the output, the first half of the limit comes while the command runs, the last half at its end. Whoever reads
        slowly holds nothing up. Close the iterator to end the command, with all that it started in its process group.
        """
        ...

    async def run(self, tenant_id: TenantId, command: Command) -> CommandResult:
        """Run a command with `sh -c` in `HOME`, and wait for it to end or for its time to run out."""
        ...

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """Read a part of a regular file."""
        ...

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        """Write a whole file, making the folders above it; the file appears complete or not at all."""
        ...

    async def search(self, tenant_id: TenantId, pattern: str, path: str, *, limit: int) -> SearchResult:
        """Search file contents under a folder by regular expression (ripgrep's)."""
        ...

    def archive(self, tenant_id: TenantId, path: str, *, limit_bytes: int) -> AsyncIterator[bytes]:
        """Stream a folder as an uncompressed tar of its regular files and folders. The tar is untrusted."""
        ...

    async def forward(self, tenant_id: TenantId, port: int) -> str:
        """Return an address, such as `unix//run/1-80.sock`; a connection to it wakes the machine and reaches the port.

        It is in Caddy's notation for what it dials, and lasts until the machine is destroyed.
        """
        ...

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        """Ask the program on a port inside for its first page, as a visitor of a hostname; wait for it for a while."""
        ...

    async def wake(self, tenant_id: TenantId) -> None:
        """Start the machine if it sleeps."""
        ...

    async def sleep(self, tenant_id: TenantId) -> None:
        """Stop the machine, its disk synced. Nothing happens if it does not run."""
        ...

    async def checkpoint(self, tenant_id: TenantId, label: str) -> Checkpoint:
        """Keep what the disk is now; the oldest of more than a few is forgotten. One that has this label is returned.

        A label has 1 to 64 small letters, digits and hyphens. Errors: `Exhausted` if the host has no room for it.
        """
        ...

    async def checkpoints(self, tenant_id: TenantId) -> tuple[Checkpoint, ...]:
        """List the copies of the disk that are kept, oldest first. Wakes nothing."""
        ...

    async def roll_back(self, tenant_id: TenantId, label: str) -> None:
        """Stop the machine and make its disk what it was at a checkpoint, which then is no longer listed.

        What the disk was until now is kept as `before-roll-back`, so that it can be undone. The mirror of its house
        becomes what it was at the checkpoint. Errors: `NotFound`.
        """
        ...

    async def sync_house(self, tenant_id: TenantId) -> bool:
        """Bring the mirror of the tenant's house up to date with the machine if it is awake, and say whether it is.

        Wakes nothing. One that is just starting or going to sleep is waited for. A house that cannot be read leaves the
        mirror as it was.
        """
        ...

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Write a whole file of the tenant's house, or remove it (None); see `core.house` for its path and limits.

        It is written in the machine if that is awake, else in the mirror, from which it is put into the machine before
        the next call there. Wakes nothing. Errors: `Exhausted` if there is no room for it.
        """
        ...

    async def stats(self, tenant_id: TenantId) -> MachineStats:
        """Say what the machine is and uses. Wakes nothing. Errors: `NotFound` if the tenant never had one."""
        ...

    async def destroy(self, tenant_id: TenantId) -> None:
        """Stop the machine and erase its disk. The tenant's house waits in its mirror for the next one."""
        ...

    async def statuses(self) -> tuple[MachineStatus, ...]:
        """List the machines that are awake."""
        ...


@dataclass(frozen=True, kw_only=True)
class SecondsLeft:
    """For how long a machine may be awake: by a claim of its tenant's, of which each day (UTC) has so much, and at all.

    The latter is what the budgets of machine seconds have left, if there are any.
    """

    by_claim_s: float
    at_all_s: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the tenant's plan gives a machine that starts. It sleeps after `idle_timeout_s` without use."""

    idle_timeout_s: float
    disk_mb: int
    sleeps_with_memory: bool
    left: SecondsLeft


@dataclass(frozen=True, kw_only=True)
class KeptMachine:
    """A machine that a host keeps, as it is on record. `generation` is the newest start's."""

    tenant_id: TenantId
    generation: int
    state: MachineState


class MachineLedger(Protocol):
    """The record of one host's machines: which host keeps a tenant's disk, and which start of it is the newest.

    A disk may be opened only by the start that `begin` counted last. Every call raises `Unavailable` if the record
    cannot be reached; whether it was done is then unknown.
    """

    async def begin(self, tenant_id: TenantId, *, at_least: int, image: str) -> tuple[int, Terms]:
        """Count a start, and return its generation, which is above `at_least` and all before, and its terms.

        Errors: `NotFound` for a tenant that is not there; `Conflict` if another host keeps its machine; `Exhausted`, in
        words for the person, if a budget of machine seconds is used up.
        """
        ...

    async def use(self, tenant_id: TenantId, generation: int, *, awake_s: float) -> SecondsLeft:
        """Add the seconds that a machine was awake since they were last added; return what is left after them.

        Seconds before midnight (UTC) count for the day before; those of a call whose outcome is unknown may count twice
        if they are added again. Errors: `Conflict` if this start is not the newest any more, or has ended.
        """
        ...

    async def visits_left_s(self, tenant_id: TenantId) -> float:
        """Return for how long today (UTC) visits may have a machine awake that sleeps: 0 for a suspended tenant's."""
        ...

    async def port_troubled(self, tenant_id: TenantId, port: int, trouble: Trouble) -> None:
        """Say that the program on a port does not serve visitors. If it is a site, its agent is told.

        But for `Trouble.ERRORS` an earlier version is served again.
        """
        ...

    async def end(self, tenant_id: TenantId, generation: int, state: MachineState, *, awake_s: float) -> None:
        """Say that a machine sleeps, and how, and add its last seconds. It may be said again, also with another state.

        Errors: `Conflict` if this start is not the newest any more.
        """
        ...

    async def destroy(self, tenant_id: TenantId) -> None:
        """Forget a machine whose disk is erased, if it is on record. Errors: `Conflict` if another host keeps it."""
        ...

    async def kept(self) -> tuple[KeptMachine, ...]:
        """List the machines that this host keeps."""
        ...

    async def settle(self, awake: Collection[TenantId]) -> int:
        """Put on record that of this host's machines only those of `awake` are awake; return how many others were.

        For a host that starts: nothing may begin meanwhile.
        """
        ...

    async def existing(self, tenant_ids: Collection[TenantId]) -> frozenset[TenantId]:
        """Return which of these tenants there are: the disks of others may be erased."""
        ...
