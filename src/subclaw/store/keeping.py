"""What channels keep for themselves."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from subclaw.core.errors import Conflict
from subclaw.core.keeping import Kept
from subclaw.store.database import Database, DatabaseAddress, Role, connect, translated

KEEPING_LOCK = 0x5C1D
"""Class of the advisory locks that are held by whoever changes a channel's entries."""


class StoreKeeping:
    """A channel's entries, in PostgreSQL: see `core.keeping.Keeping`."""

    def __init__(self, database: Database, address: DatabaseAddress, channel: str) -> None:
        self._database = database
        self._address = address
        self._channel = channel

    async def read(self, *, after: int = 0) -> Kept:
        """Return the entries that were written after a version."""
        rows = await self._database.rows(
            "SELECT name, value, version FROM channel_entry WHERE channel = %s AND version > %s", self._channel, after
        )
        entries = {name: value for name, value, _ in rows if after or value is not None}
        return Kept(entries=entries, version=max((version for _, _, version in rows), default=after))

    async def write(self, entries: Mapping[str, bytes | None], *, expected: int | None = None) -> int:
        """Write entries, all or none; return the version."""
        rows = await self._database.rows(
            "SELECT write_channel_entries(%s, %s, %s::bytea[], %s)",
            self._channel,
            list(entries),
            list(entries.values()),
            expected,
        )
        if rows[0][0] is None:
            raise Conflict("Another process has changed what the channel keeps.")
        return int(rows[0][0])

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep other processes out for the block."""
        async with await connect(self._address, Role.APP) as session:
            with translated():
                await session.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [KEEPING_LOCK, self._channel])
            yield
