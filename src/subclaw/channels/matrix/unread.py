"""Encrypted messages whose keys have not come yet: they are tried again, and if that takes long, their senders know."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from subclaw.channels.matrix.sync import Event

UNREADABLE = (
    "I can't read what you wrote: it is encrypted, and its key has not reached me. Please send it again, or write to "
    "me in a room without encryption."
)
TOLD_AFTER = timedelta(minutes=2)
GIVEN_UP_AFTER = timedelta(hours=1)
LIMIT = 200
EVENT_LIMIT_CHARACTERS = 70_000


class Unread:
    """Messages that could not be read, the oldest first; `changed` says that they are to be kept anew."""

    def __init__(self, waiting: Iterable[dict[str, Any]]) -> None:
        self._waiting = list(waiting)
        self.changed = False

    @property
    def events(self) -> Sequence[dict[str, Any]]:
        """Return them, each with its `room_id`, and with when it came."""
        return self._waiting

    def add(self, room: str, event: Event) -> None:
        """Keep one; the oldest goes, if there are too many."""
        if len(repr(event)) > EVENT_LIMIT_CHARACTERS or any(
            one["event_id"] == event.get("event_id") for one in self._waiting
        ):
            return
        kept = {name: event.get(name) for name in ("type", "event_id", "sender", "origin_server_ts", "content")}
        came = {"room_id": room, "came": datetime.now(UTC).isoformat(), "told": False}
        self._waiting = [*self._waiting, {**kept, **came}][-LIMIT:]
        self.changed = True

    def take(self, read: Mapping[str, Event]) -> list[dict[str, Any]]:
        """Return those that can be read now, and those that nobody will read any more go."""
        found = [one for one in self._waiting if one["event_id"] in read]
        late = datetime.now(UTC) - GIVEN_UP_AFTER
        left = [one for one in self._waiting if one not in found and datetime.fromisoformat(one["came"]) > late]
        self.changed = self.changed or len(left) < len(self._waiting)
        self._waiting = left
        return found

    def overdue(self) -> list[dict[str, Any]]:
        """Return those whose senders are to be told now, each once."""
        late = datetime.now(UTC) - TOLD_AFTER
        found = [one for one in self._waiting if not one["told"] and datetime.fromisoformat(one["came"]) < late]
        for one in found:
            one["told"] = self.changed = True
        return found
