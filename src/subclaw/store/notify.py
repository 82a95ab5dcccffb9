"""Notifications: PostgreSQL's LISTEN, and a worker's proof of life."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum

from psycopg import Notify, sql

from subclaw.store.database import Connection, Database, DatabaseAddress, Role, connect, translated

WORKER_LOCK = 0x5C1B
"""Class of the advisory locks that workers hold while they live."""


class Topic(StrEnum):
    """What can be listened for."""

    WAKE = "subclaw_wake"
    INBOX = "subclaw_inbox"
    OUTBOX = "subclaw_outbox"
    FEED = "subclaw_feed"
    SITES = "subclaw_sites"
    SCHEDULE = "subclaw_schedule"
    EGRESS = "subclaw_egress"
    ONBOARDING = "subclaw_onboarding"
    WEBHOOK = "subclaw_webhook"
    LISTENERS = "subclaw_listeners"
    SPEAKERS = "subclaw_speakers"


async def listen(connection: Connection, *topics: str) -> None:
    """Ask for the notifications of these topics on this connection."""
    with translated():
        for topic in topics:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(topic)))


async def notify(database: Database, notes: Sequence[tuple[str, str]]) -> None:
    """Send notifications, each a topic and less than 8,000 bytes, in their order. Errors: `Unavailable`."""
    topics, payloads = [topic for topic, _ in notes], [payload for _, payload in notes]
    query = "SELECT pg_notify(n.topic, n.payload) FROM unnest(%s::text[], %s::text[]) AS n(topic, payload)"
    await database.rows(query, topics, payloads)


async def notifications(connection: Connection) -> AsyncIterator[Notify]:
    """Yield notifications as they come. Errors: `Unavailable` when the connection is lost."""
    with translated():
        async for notification in connection.notifies():
            yield notification


Tell = Callable[[str], None]
"""Is called with what a notification says."""


class Ears:
    """What the parts of a process hear, by one session: PostgreSQL wakes each that listens for whatever is told."""

    def __init__(self) -> None:
        self._tells: defaultdict[str, list[Tell]] = defaultdict(list)

    @contextmanager
    def telling(self, tells: Mapping[Topic, Tell]) -> Iterator[None]:
        """Call these for the life of the block."""
        for topic, tell in tells.items():
            self._tells[topic].append(tell)
        try:
            yield
        finally:
            for topic, tell in tells.items():
                self._tells[topic].remove(tell)

    async def listen(self, session: Connection) -> None:
        """Hand on what comes, until cancelled. Errors: `Unavailable` when the session is lost."""
        async for notification in notifications(session):
            for tell in list(self._tells[notification.channel]):
                tell(notification.payload)


@asynccontextmanager
async def open_ears(address: DatabaseAddress, *topics: Topic) -> AsyncIterator[Ears]:
    """Listen for topics for the life of the block, which ends with `Unavailable` when the session is lost."""
    async with await connect(address, Role.APP) as session:
        await listen(session, *topics)
        ears = Ears()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(ears.listen(session))
            yield ears
            listening.cancel()


@asynccontextmanager
async def hearing(address: DatabaseAddress, tells: Mapping[Topic, Tell], ears: Ears | None) -> AsyncIterator[None]:
    """Call these for the life of the block: by ears that are open, or by a session of one's own."""
    if ears is None:
        async with open_ears(address, *tells) as own:
            with own.telling(tells):
                yield
    else:
        with ears.telling(tells):
            yield


async def until_lost(session: Connection) -> None:
    """Return, or raise `Unavailable`, once a session is lost that does not listen."""
    async for _ in notifications(session):
        pass


async def workers_alive(database: Database) -> int:
    """Return how many sessions prove a worker alive."""
    ((count,),) = await database.rows(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::bigint = %s", WORKER_LOCK
    )
    return int(count)


@asynccontextmanager
async def worker_life(address: DatabaseAddress) -> AsyncIterator[tuple[Connection, int]]:
    """Open the session that proves a worker alive; yields it with the worker's id.

    What the worker claims is freed when this session ends, however it ends.
    """
    connection = await connect(address, Role.APP)
    async with connection:
        with translated():
            cursor = await connection.execute("SELECT nextval('worker_id')")
            ((worker_id,),) = await cursor.fetchall()
            await connection.execute("SELECT pg_advisory_lock(%s, %s::integer)", [WORKER_LOCK, worker_id])
        yield connection, worker_id
