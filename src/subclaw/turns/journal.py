"""The journal of a turn: what the store has of a conversation, and what it is still to be told."""

from collections.abc import Sequence

from subclaw.core.event import Event
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.database import Database
from subclaw.store.events import storable_event
from subclaw.store.flush import Flush


class Journal:
    """The events of a conversation: those that the store has, and those that it is still to be told of.

    The latter are kept as the store will give them back, so that whoever takes a turn over is told what this one was.
    `flush` is as in `conversations.append`.
    """

    def __init__(
        self, database: Database, lease: Lease, written: Sequence[Event], *, flush: Flush | None = None
    ) -> None:
        self._database = database
        self._lease = lease
        self._flush = flush
        self._written = list(written)
        self.unwritten: list[Event] = []

    def add(self, event: Event) -> None:
        """Take an event, to be written with the next ones."""
        self.unwritten.append(storable_event(event))

    def events(self) -> list[Event]:
        """Return all of them, oldest first."""
        return [*self._written, *self.unwritten]

    async def write(self, *, drain: bool = False) -> bool:
        """Append what is unwritten, if anything is; with `drain`, say whether something was said meanwhile."""
        return await self._append(drain=drain) if self.unwritten else False

    async def hear(self) -> None:
        """Take what was said meanwhile into the turn, and append what is unwritten."""
        await self._append(drain=True)

    async def _append(self, *, drain: bool) -> bool:
        said = await conversations.append(self._database, self._lease, self.unwritten, drain=drain, flush=self._flush)
        self._written += [*self.unwritten, *said]
        self.unwritten = []
        return bool(said)
