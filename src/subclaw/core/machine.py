"""A machine: the microVM that a tenant's agent borrows, and the port through which it is used.

Whatever implements `Machines` starts the tenant's machine when a call needs it, so no caller ever asks whether it runs.
Everything that comes out of a machine is untrusted bytes, bounded by the limits that the call names.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from subclaw.core.tenant import TenantId

HOME = "/home/agent"
"""Where the agent's own files live; relative paths are taken from here."""

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
    """

    text: str
    timeout_s: float
    output_limit_bytes: int = 16_384


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


class Machines(Protocol):
    """The machines of all tenants. Every call wakes the tenant's machine if it sleeps.

    Errors: `Unavailable` if the machine cannot be started, or stopped in the middle of a call (then the outcome of the
    call is unknown, and the next call gets a machine again); `NotFound`, `Invalid` and `Denied` for paths.
    """

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

    async def forward(self, tenant_id: TenantId, port: int) -> Path:
        """Return a unix socket on this host; a connection to it wakes the machine and reaches the port inside."""
        ...

    async def sleep(self, tenant_id: TenantId) -> None:
        """Stop the machine, its disk synced. Nothing happens if it does not run."""
        ...

    async def destroy(self, tenant_id: TenantId) -> None:
        """Stop the machine and erase its disk."""
        ...

    async def statuses(self) -> tuple[MachineStatus, ...]:
        """List the machines that are awake."""
        ...
