"""A tenant's house: the files in its machine by which it makes its agent its own, mirrored while the machine sleeps.

`system.md` is what the agent is told of itself, `memory.md` what it keeps of its person, `tools.json` its own tools,
and `skills/` what it knows how to do. The machine has the files themselves; the mirror is what was last seen of them,
and what is to be put in at the next start.
"""

from collections.abc import Sequence
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


@dataclass(frozen=True, kw_only=True)
class HouseFile:
    """A file of a house. `path` is below `HOUSE`, such as `skills/invoices.md`.

    `content` is None for one that cannot be used, and `problem` says why in words: it is too large, no regular file.
    """

    path: str
    content: bytes | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What is to be put into a house at the next start: content by path, or None for a file to remove."""

    path: str
    content: bytes | None


class Mirror(Protocol):
    """The mirror of all houses, as the hosts of machines write it. Errors: `Unavailable`."""

    async def waiting(self, tenant_id: TenantId) -> Sequence[Waiting]:
        """Return what was written to the mirror while the machine slept."""
        ...

    async def laid(self, tenant_id: TenantId) -> dict[str, str]:
        """Return the fingerprints (SHA-256, in hex) of the defaults that were laid in the machine, by path."""
        ...

    async def keep(self, tenant_id: TenantId, files: Sequence[HouseFile], laid: dict[str, str]) -> None:
        """Say what is in the machine, all of it, so that nothing waits any more, and what of it was laid there.

        A file that is as it was laid need not be kept, since it follows the default.
        """
        ...

    async def write(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Write a file, or remove it, while the machine sleeps: it waits for the next start.

        Errors: `Exhausted` if the house would have too many files or be too large.
        """
        ...


def house_path(path: str) -> str | None:
    """Return what a path in the machine is below `HOUSE`; None if it is elsewhere. Raises `Invalid` for a strange one.

    A path is taken as it is written: links in the machine are not known here.
    """
    prefix = f"{HOUSE}/"
    if not path.startswith(prefix):
        return None
    inside = path[len(prefix) :]
    steps = inside.split("/")
    if "\0" in inside or len(inside) > PATH_LIMIT_CHARACTERS or any(step in ("", ".", "..") for step in steps):
        raise Invalid(f"{path[:80]!r} is no path of a file in {HOUSE}.")
    return inside
