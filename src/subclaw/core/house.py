"""A tenant's house: the files in its machine by which it makes its agent its own, mirrored while the machine sleeps.

`system.md` is what the agent is told of itself, `memory.md` what it keeps of its person, `tools.json` its own tools,
and `skills/` what it knows how to do. The machine has the files themselves; the mirror is what was last seen of them,
and what is to be put in at the next start.

Defaults come with subclaw and are laid into every house. Fingerprints (SHA-256, in hex) tell those that a tenant has
touched, which are kept, from those that are as they were laid, which follow the newest.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from subclaw.core.errors import Invalid
from subclaw.core.tenant import TenantId

HOUSE = "/etc/subclaw"
"""The folder in the machine. It lasts as the home folder does."""

SYSTEM, MEMORY, TOOLS, SKILLS = "system.md", "memory.md", "tools.json", "skills"

FILE_LIMIT_BYTES = 64 * 1024
FILES_LIMIT = 200
HOUSE_LIMIT_BYTES = 1024 * 1024
PATH_LIMIT_CHARACTERS = 200
DEPTH_LIMIT = 4
"""How deep files of a house lie: `skills/vat/SKILL.md`, and what that leads to, `skills/vat/references/eu.md`."""


@dataclass(frozen=True, kw_only=True)
class HouseFile:
    """A file of a house. `path` is below `HOUSE`, such as `skills/invoices.md`.

    `content` is None for one that cannot be used, and `problem` says why in words: it is too large, no regular file.
    A default that the tenant has removed has neither content nor problem.
    """

    path: str
    content: bytes | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a house as the mirror has it; see `HouseFile`.

    `served` is the last content that could be used, None if there was none. One that `is_waiting` is not in the machine
    yet.
    """

    path: str
    content: bytes | None
    problem: str = ""
    served: bytes | None = None
    is_waiting: bool = False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What is to be put into a house at the next start: content by path, or None for a file to remove."""

    path: str
    content: bytes | None


@dataclass(frozen=True, kw_only=True)
class Owed:
    """What a machine that starts is to be given. `laid` are the fingerprints of the defaults that were laid in it.

    `note` is what was said of it when it was last put to sleep; see `Mirror.rest`.
    """

    waiting: tuple[Waiting, ...]
    laid: Mapping[str, str]
    note: str


class Mirror(Protocol):
    """The mirror of all houses, as the hosts of machines write it. Errors: `Unavailable`."""

    async def owed(self, tenant_id: TenantId, *, is_new: bool) -> Owed:
        """Return what was written to the mirror while the machine slept.

        If the machine `is_new`, with nothing in its house, everything that the mirror has waits for it from now on.
        """
        ...

    async def keep(
        self, tenant_id: TenantId, files: Sequence[HouseFile], *, laid: Mapping[str, str], settled: Mapping[str, str]
    ) -> None:
        """Say what is in the machine, as `files_to_keep` has it, and what was laid there.

        What waits goes on waiting, but for what is `settled` (fingerprints by path, empty for a removal): that was put
        into the machine.
        """
        ...

    async def rest(self, tenant_id: TenantId, note: str) -> None:
        """Say that the machine sleeps, its house as the mirror has it. The note is for the next start."""
        ...

    async def write(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Write a file, or remove it, while the machine sleeps: it waits for the next start.

        Errors: `Exhausted` if the house would have too many files or be too large.
        """
        ...

    async def keep_checkpoint(self, tenant_id: TenantId, label: str) -> None:
        """Keep what the mirror has beside a checkpoint of the machine's disk that has just been made."""
        ...

    async def roll_back(self, tenant_id: TenantId, label: str) -> None:
        """Make the mirror what it was at a checkpoint to which the disk is rolled back, if that is known.

        What waited then waits again. In any case the next start has a look at what is in the machine.
        """
        ...


def house_path(path: str) -> str | None:
    """Return what a path in the machine is below `HOUSE`; None if the mirror does not have it, being elsewhere.

    What is hidden or lies deeper than a house's files do is elsewhere, too. A path is taken as it is written: links in
    the machine are not known here. Raises `Invalid` for one that cannot be.
    """
    prefix = f"{HOUSE}/"
    if not path.startswith(prefix):
        return None
    inside = path[len(prefix) :]
    steps = inside.split("/")
    if any(step in ("", ".", "..") for step in steps) or not inside.isprintable():
        raise Invalid(f"{path[:80]!r} is no path of a file in {HOUSE}.")
    return inside if is_house_path(inside) else None


def is_house_path(path: str) -> bool:
    """Say whether a file of a house may have this path below `HOUSE`. Hidden files are none of its files."""
    steps = path.split("/")
    return (
        path.isprintable()
        and len(path) <= PATH_LIMIT_CHARACTERS
        and len(steps) <= DEPTH_LIMIT
        and not any(step == "" or step.startswith(".") for step in steps)
    )


def check_house_file(path: str, content: bytes | None) -> None:
    """Check what is to be written into a house, or removed. Raises `Invalid` in words."""
    if not is_house_path(path):
        raise Invalid(f"{path[:80]!r} is no path of a file in {HOUSE}.")
    if content is not None and len(content) > FILE_LIMIT_BYTES:
        raise Invalid(f"A file in {HOUSE} may have {FILE_LIMIT_BYTES // 1024} KiB.")


def fingerprint(content: bytes) -> str:
    """Return the fingerprint of a file's content."""
    return hashlib.sha256(content).hexdigest()


def fingerprints(files: Iterable[HouseFile | Waiting]) -> dict[str, str]:
    """Return the fingerprints of files by their paths; that of one without content is empty."""
    return {file.path: "" if file.content is None else fingerprint(file.content) for file in files}


def to_lay(newest: Mapping[str, str], laid: Mapping[str, str], present: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paths of the defaults to lay, all by fingerprints: the newest, those that were laid, those of files.

    A default is laid where it never was, and in the place of the one that was if nobody has touched that. A tenant may
    remove any but the system text, without which an agent does not know what it is.
    """

    def is_due(path: str) -> bool:
        if path not in present:
            return path not in laid or path == SYSTEM
        return present[path] == laid.get(path) != newest[path]

    return tuple(path for path in newest if is_due(path))


def laid_after(newest: Mapping[str, str], laid: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprints of the defaults that were laid, from the files that are there once all were.

    That of a default which the tenant has touched or removed stays what it was when it was laid.
    """
    seen = {path: newest[path] for path in newest if present.get(path) == newest[path]}
    return {path: mark for path, mark in laid.items() if path in newest} | seen


def files_to_keep(files: Sequence[HouseFile], laid: Mapping[str, str]) -> tuple[HouseFile, ...]:
    """Return what the mirror must have of a house: all but the defaults that are as they were laid, which follow.

    Defaults that were removed are among it, as files without content.
    """
    present = fingerprints(files)
    removed = (HouseFile(path=path, content=None) for path in laid if path not in present)
    return (*(file for file in files if present[file.path] != laid.get(file.path)), *removed)
