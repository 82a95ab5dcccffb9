"""Live words where they are listened to: this process says which sessions it wants, and has what comes of each.

Workers are told by notifications who wants what, and send words to this process's own channel and nowhere else.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.live import PLACE_PREFIX, Listening, Words, pack_listening, read_words
from subclaw.store.database import Database, DatabaseAddress, Role, connect
from subclaw.store.notify import Topic, listen, notifications, notify

AGAIN_S = 10.0
"""How often workers are told again who listens; they forget what they are not told for three times as long."""

EXPECTED_S = 10.0
"""How long a session is wanted of which it was only said that somebody will listen."""

TEXT_LIMIT_CHARACTERS = 200_000
"""Longest reply that is kept while it is being said."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What was said so far of an attempt at a reply; see `core.live.Words`."""

    turn: int
    attempt: int
    text: str
    after_calls: bool


@dataclass(kw_only=True)
class _Wanted:
    until_s: float = 0.0
    followers: set[asyncio.Event] = field(default_factory=set)
    spoken: Spoken | None = None


class Ears:
    """Whoever listens to one session. `news` is set when there is something new in `spoken`."""

    def __init__(self, wanted: _Wanted) -> None:
        self._wanted = wanted
        self.news = asyncio.Event()

    @property
    def spoken(self) -> Spoken | None:
        """What was said so far of the reply that is being said, or was last."""
        return self._wanted.spoken

    def forget(self, over: int) -> None:
        """Forget what was said in a turn that began before the event `over`: its reply is there."""
        if (spoken := self._wanted.spoken) and spoken.turn < over:
            self._wanted.spoken = None


class LiveFeed:
    """Live words for this process. `run` must be running; `database` need not flush, for nothing of this is kept."""

    def __init__(self, database: Database, address: DatabaseAddress) -> None:
        self._database = database
        self._address = address
        self._place = PLACE_PREFIX + secrets.token_hex(8)
        self._wanted: dict[str, _Wanted] = {}
        self._telling = asyncio.Lock()
        self._left: set[str] = set()
        self._news = asyncio.Event()
        self._due_s = 0.0
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listen, and keep workers told, until cancelled. Errors: `Unavailable` when the connection is lost."""
        connection = await connect(self._address, Role.APP)
        async with connection, asyncio.TaskGroup() as group:
            await listen(connection, self._place, Topic.SPEAKERS)
            self.listening.set()
            telling = group.create_task(self._keep_telling())
            try:
                async for notification in notifications(connection):
                    if notification.channel == self._place:
                        self._hear(notification.payload)
                    else:
                        self._due_s = 0.0
                        self._news.set()
            finally:
                telling.cancel()

    async def expect(self, session: str) -> None:
        """Say that somebody will listen to a session in a moment: what is said from now on is heard.

        Without a database nobody listens, and replies come whole.
        """
        wanted = self._wanted.setdefault(session, _Wanted())
        wanted.until_s = asyncio.get_running_loop().time() + EXPECTED_S
        try:
            async with self._telling:
                await self._tell(on=True, sessions=[session])
        except Unavailable as error:
            log.warning("no live words: %s", error.internal)

    @contextmanager
    def follow(self, session: str) -> Iterator[Ears]:
        """Listen to a session that was expected."""
        if session not in self._wanted:  # who expected it took too long
            self._due_s = 0.0
            self._news.set()
        wanted = self._wanted.setdefault(session, _Wanted())
        ears = Ears(wanted)
        wanted.followers.add(ears.news)
        try:
            yield ears
        finally:
            wanted.followers.discard(ears.news)
            if not wanted.followers:  # somebody may be expected again already, and keeps it
                self._left.add(session)
                self._news.set()

    async def _keep_telling(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            is_due = clock() >= self._due_s
            if is_due:
                self._due_s = clock() + AGAIN_S
                self._left.update(self._wanted)
            try:
                async with self._telling:
                    await self._tell(on=False, sessions=self._let_go(clock()))
                    if is_due:
                        await self._tell(on=True, sessions=self._wanted)
            except Unavailable as error:
                log.warning("workers are not told who listens: %s", error.internal)
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._due_s - clock())):
                    await self._news.wait()

    def _let_go(self, now_s: float) -> list[str]:
        """Forget the sessions that nobody listens to any more, and return them."""
        left, self._left = self._left, set()
        gone = [id for id in left if (one := self._wanted.get(id)) and not one.followers and one.until_s <= now_s]
        for session in gone:
            del self._wanted[session]
        return gone

    async def _tell(self, *, on: bool, sessions: Iterable[str]) -> None:
        payloads = list(pack_listening(Listening(place=self._place, on=on, sessions=tuple(sessions))))
        if payloads:
            await notify(self._database, [(Topic.LISTENERS, payload) for payload in payloads])

    def _hear(self, payload: str) -> None:
        try:
            heard = read_words(payload)
        except Invalid:
            log.warning("live words that cannot be read")
            return
        for words in heard:
            if wanted := self._wanted.get(words.session):
                after = _after(wanted.spoken, words)
                if after is not wanted.spoken:
                    wanted.spoken = after
                    for news in wanted.followers:
                        news.set()


def _after(spoken: Spoken | None, words: Words) -> Spoken | None:
    """Return what was said with some more words; those that do not follow on it change nothing."""
    before = spoken.text if spoken and spoken.attempt == words.attempt else ""
    if len(before) != words.offset or len(before) + len(words.text) > TEXT_LIMIT_CHARACTERS:
        return spoken
    return Spoken(turn=words.turn, attempt=words.attempt, text=before + words.text, after_calls=words.after_calls)
