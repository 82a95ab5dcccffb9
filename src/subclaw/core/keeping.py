"""What a channel keeps for itself from call to call: where it is in its provider's stream, keys of its device.

Entries are bytes by name. Every write has the next version, so whoever has read before reads only what is new.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

ENTRY_LIMIT_BYTES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Entries as they stood at a version; None is one that is gone. Version 0 is before the first write."""

    entries: Mapping[str, bytes | None]
    version: int


class Keeping(Protocol):
    """One channel's entries. Errors of all: `Unavailable`."""

    async def read(self, *, after: int = 0) -> Kept:
        """Return the entries that were written after a version; those that are gone only with a version above 0."""
        ...

    async def write(self, entries: Mapping[str, bytes | None], *, expected: int | None = None) -> int:
        """Write entries, None to forget one, all or none; return the version.

        Errors: `Conflict` if a version is expected and another one stands.
        """
        ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Wait until nobody else is in such a block, and keep them out.

        Whoever loses the database in it is not told so: that their writes expect a version keeps them out.
        """
        ...
