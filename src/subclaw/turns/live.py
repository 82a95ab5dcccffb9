"""Live words: replies are told to those who listen, while models say them. Where nobody listens it costs nothing.

What is told is provisional: only the reply in the transcript counts. Whatever fails here, replies come whole.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Sequence
from functools import partial

from subclaw.core.business import SESSION_CHANNEL
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.event import Event, MessageReceived
from subclaw.core.live import Words, pack_words, pieces, read_listening
from subclaw.core.manners import Occasion
from subclaw.core.model import Hearer
from subclaw.core.transcript import current_turn, occasion_of
from subclaw.core.turn import Conversation
from subclaw.store.database import Database
from subclaw.store.notify import Topic, notify
from subclaw.store.session_events import place_of_message
from subclaw.turns.voice import Listener, Voice

TELL_S = 0.1
"""How often words are told: those of all replies together, in one transaction."""

LOOK_S = 0.02
"""How soon it is looked again for words that are whole, if there were none."""

LIFE_S = 30.0
"""How long somebody is taken to listen who said so."""

AT_ONCE = 32
"""Most replies of a worker that are told at once, for each word takes up to half a millisecond; others come whole."""

log = logging.getLogger(__name__)


_Listeners = dict[str, Listener]
"""Who listens to a session, by their places."""


class LiveWords:
    """The replies of a worker that somebody listens to. `run` must be running; `database` need not flush."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: dict[str, _Listeners] = {}
        self._voices: dict[int, Voice] = {}
        self._numbers = itertools.count(random.getrandbits(48))
        self._some = asyncio.Event()
        self._look_through_at_s = 0.0

    async def begun(self) -> None:
        """Ask who listens: whoever does says so."""
        await notify(self._database, [(Topic.SPEAKERS, "")])

    def told(self, payload: str) -> None:
        """Take a notification that says who listens to what."""
        try:
            said = read_listening(payload)
        except Invalid:
            log.warning("a notification of who listens cannot be read")
            return
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._look_through_at_s:
            self._look_through_at_s = now_s + LIFE_S
            for session in list(self._listeners):
                self._places(session)
        for session in said.sessions:
            if said.on:
                at = self._listeners.setdefault(session, {})
                at.setdefault(said.place, Listener(until_s=0)).until_s = now_s + LIFE_S
                self._some.set()
            elif (at := self._listeners.get(session, {})).pop(said.place, None) and not at:
                del self._listeners[session]

    async def hearer(
        self, conversation: Conversation, events: Sequence[Event], limit_characters: int | None
    ) -> Hearer | None:
        """Return who hears the next words of a turn; None if nobody listens.

        A turn that no message began is one that nobody waits for.
        """
        to, id = conversation.reply_to, conversation.lease.conversation_id
        if to.channel != SESSION_CHANNEL or not self._places(to.address):
            return None
        first = next((one for one in current_turn(events) or () if isinstance(one, MessageReceived)), None)
        if first is None or (id not in self._voices and len(self._voices) >= AT_ONCE):
            return None
        try:
            turn = await place_of_message(self._database, to.address, first.provider_id)
        except Unavailable:
            turn = None
        if turn is None:
            return None
        occasion, voice = occasion_of(events, limit_characters), self._voices.get(id)
        if voice is None or voice.turn != turn:
            voice = self._voices[id] = self._voice(to.address, turn, occasion)
        voice.occasion = occasion
        return voice

    def _voice(self, session: str, turn: int, occasion: Occasion) -> Voice:
        return Voice(
            session=session,
            turn=turn,
            occasion=occasion,
            number=partial(next, self._numbers),
            is_wanted=lambda: bool(self._places(session)),
            has_news=self._some.set,
        )

    def ended(self, conversation_id: int) -> None:
        """Say that a conversation's turns run here no more."""
        self._voices.pop(conversation_id, None)

    async def run(self) -> None:
        """Tell what there is to tell, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            notes = [
                (place, payload)
                for place, words in self._to_tell().items()
                for payload in pack_words(piece for one in words for piece in pieces(one))
            ]
            if not notes:
                await asyncio.sleep(LOOK_S)
                continue
            try:
                await notify(self._database, notes)
            except Unavailable as error:
                log.warning("live words were not told: %s", error.internal)
            await asyncio.sleep(TELL_S)

    def _to_tell(self) -> dict[str, list[Words]]:
        """Return what is to be told at each place, and take it for told."""
        told: dict[str, list[Words]] = {}
        for voice in self._voices.values():
            voice.settle()
            for place, listener in self._places(voice.session).items():
                if words := voice.words_for(listener):
                    told.setdefault(place, []).append(words)
            if voice.go_on_after_calls():
                self._some.set()
        return told

    def _places(self, session: str) -> _Listeners:
        """Return where a session is listened to."""
        at = self._listeners.get(session)
        if not at:
            return {}
        now_s = asyncio.get_running_loop().time()
        for place in [place for place, listener in at.items() if listener.until_s <= now_s]:
            del at[place]
        if not at:
            del self._listeners[session]
        return at
