"""Flushing: one wait for the disk, shared by all who committed before it.

PostgreSQL lets transactions that notify commit one after the other, and each holds the others up until the disk has
written it. So what takes in messages commits without that wait, and waits here before it says that a message is kept:
the log is one line, so whatever is flushed later has all that was committed before it.
"""

import asyncio

from subclaw.core.errors import Unavailable
from subclaw.store.database import Database

_FLUSH = "SELECT set_config('synchronous_commit', 'on', true), pg_logical_emit_message(true, 'subclaw', '')"
"""A transaction that has written to the log has all of it flushed; this writes there and nowhere else."""


class Flush:
    """The wait for the disk. One is under way at a time; who comes meanwhile shares the next."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()
        self._next: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Return once all that was committed before is on disk. Errors: `Unavailable` if that is not known."""
        if self._next is not None:
            await asyncio.shield(self._next)
            return
        self._next = mine = asyncio.get_running_loop().create_future()
        try:
            async with self._turn:
                self._next = None
                await self._database.rows(_FLUSH)
        except BaseException as error:
            _fail(mine, error)
            raise
        else:
            mine.set_result(None)
        finally:
            if self._next is mine:
                self._next = None


def _fail(shared: asyncio.Future[None], error: BaseException) -> None:
    """Tell those who share it; if this one alone was cancelled, they are told to come back."""
    given_up = Unavailable("The database cannot be reached.", internal=f"a flush ended: {type(error).__name__}")
    shared.set_exception(error if isinstance(error, Unavailable) else given_up)
    shared.exception()  # nobody may share it
