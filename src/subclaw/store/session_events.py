"""What happens in a customer's session, as its page and its owner's server see it: no arguments, no results."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from subclaw.core.business import SESSION_CHANNEL
from subclaw.core.channel import Address
from subclaw.core.errors import Unavailable
from subclaw.store.database import Database
from subclaw.store.feed import StoreFeed

PAGE_EVENTS = 200


@dataclass(frozen=True, kw_only=True)
class SessionEvent:
    """Something that happened: `type` is the transcript's, and `body` what of it is shown."""

    seq: int
    type: str
    at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Working:
    """Whether the agent is at work on the session."""

    on: bool


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What models took."""

    input: int
    output: int


async def read_session(
    database: Database, session_id: str, *, after: int, limit: int
) -> tuple[bool, tuple[SessionEvent, ...]]:
    """Return whether the agent is at work, and what happened after `after`, at most `limit`. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM session_events(%s, %s, %s)", session_id, after, limit)
    turn_open, items = rows[0] if rows else (False, [])
    return turn_open, tuple(
        SessionEvent(seq=row["seq"], type=row["type"], at=datetime.fromisoformat(row["at"]), body=row["body"])
        for row in items
    )


async def follow_session(
    database: Database, feed: StoreFeed, session_id: str, after: int
) -> AsyncGenerator[SessionEvent | Working, None]:
    """Yield what happened after `after`, then one `Working`, then whatever comes; see `core.feed.ChatFeed.follow`.

    Errors: `Unavailable`, on which one comes again after the last `seq` that one saw.
    """
    working: bool | None = None
    with feed.news(Address(channel=SESSION_CHANNEL, address=session_id)) as news:
        while not feed.ended:
            news.clear()
            turn_open, events = await read_session(database, session_id, after=after, limit=PAGE_EVENTS)
            for event in events:
                after = event.seq
                yield event
            if len(events) == PAGE_EVENTS:
                continue
            if turn_open != working:
                working = turn_open
                yield Working(on=turn_open)
            await news.wait()
    raise Unavailable("The API is restarting.")


async def place_of_message(database: Database, session_id: str, provider_id: str) -> int | None:
    """Return after which `seq` a message is, or will be; None if it was not taken. Errors: `Unavailable`."""
    ((place,),) = await database.rows("SELECT place_of_message(%s, %s)", session_id, provider_id)
    return None if place is None else int(place)


async def session_usage(database: Database, session_id: str, *, after: int, until: int) -> Tokens:
    """Return what models took between two events. Errors: `Unavailable`."""
    ((read, written),) = await database.rows("SELECT * FROM session_usage(%s, %s, %s)", session_id, after, until)
    return Tokens(input=read, output=written)
