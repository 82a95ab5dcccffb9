"""A reply that is being said: how much of it listeners may be told already, and what each of them was not told yet."""

from collections.abc import Callable
from dataclasses import dataclass

from subclaw.core.live import Words
from subclaw.core.manners import Occasion, mend_answer
from subclaw.core.showing import showable
from subclaw.store.events import storable

FIRST_LOOK_CHARACTERS = 200
GROWTH = 1.5
"""How long a reply is when it is first looked at whether it has manners, and how much longer the next time."""


@dataclass(kw_only=True)
class Listener:
    """A place where a session is listened to until `until_s`, and how much of which attempt it was told."""

    until_s: float
    attempt: int = 0
    characters: int = 0


@dataclass(kw_only=True)
class _Attempt:
    """An attempt at a reply: its `text` so far, and how many characters of it are `fit` to be told.

    One that is `deaf` is told nothing more; `ends_in_calls` says that the model has gone on to use its tools.
    """

    number: int
    after_calls: bool
    text: str = ""
    fit: int = 0
    look_at_characters: int = FIRST_LOOK_CHARACTERS
    is_deaf: bool = False
    ends_in_calls: bool = False
    is_new: bool = True


class Voice:
    """The replies of one turn, one attempt after the other. See `core.model.Hearer`.

    `number` gives each attempt a number of its own; `is_wanted` says whether somebody listens; `has_news` is told when
    there is something to tell. `occasion` is what the words are held against.
    """

    def __init__(
        self,
        *,
        session: str,
        turn: int,
        occasion: Occasion,
        number: Callable[[], int],
        is_wanted: Callable[[], bool],
        has_news: Callable[[], None],
    ) -> None:
        self.session = session
        self.turn = turn
        self.occasion = occasion
        self._number = number
        self._is_wanted = is_wanted
        self._has_news = has_news
        self._attempt = _Attempt(number=number(), after_calls=False)

    def begins(self) -> bool:
        """See `Hearer.begins`."""
        if self._attempt.text or self._attempt.ends_in_calls:
            self._begin_anew(after_calls=self._attempt.ends_in_calls)
        self._attempt.is_deaf = False
        return self._is_wanted()

    def hears(self, text: str) -> None:
        """See `Hearer.hears`."""
        if not self._attempt.is_deaf:
            self._attempt.text = storable(text)
            self._attempt.is_new = True
            self._has_news()

    def calls(self) -> None:
        """See `Hearer.calls`."""
        if not self._attempt.is_deaf:
            self._attempt.is_deaf = self._attempt.ends_in_calls = self._attempt.is_new = True
            self._has_news()

    def settle(self) -> None:
        """Decide how much may be told by now; what begins to look unfit is taken back."""
        attempt = self._attempt
        if not attempt.is_new:
            return
        attempt.is_new = False
        if len(attempt.text) >= attempt.look_at_characters:
            attempt.look_at_characters = int(GROWTH * len(attempt.text))
            if mend_answer(attempt.text, self.occasion, may_send_back=True):
                self._begin_anew(after_calls=False)
                self._attempt.is_deaf = True
                return
        ended = f"{attempt.text} " if attempt.ends_in_calls else attempt.text
        attempt.fit = showable(ended, attempt.fit)

    def words_for(self, listener: Listener) -> Words | None:
        """Return what a listener was not told yet, and take it for told."""
        attempt = self._attempt
        if listener.attempt != attempt.number:
            if not attempt.fit and not listener.characters:
                return None
            listener.attempt, listener.characters = attempt.number, 0
        elif listener.characters == attempt.fit:
            return None
        told, listener.characters = listener.characters, attempt.fit
        return Words(
            session=self.session,
            turn=self.turn,
            attempt=attempt.number,
            offset=told,
            text=attempt.text[told : attempt.fit],
            after_calls=attempt.after_calls,
        )

    def go_on_after_calls(self) -> bool:
        """Take back what was said before tool calls, once all of it was told; return whether there is news by that."""
        if not self._attempt.ends_in_calls:
            return False
        self._begin_anew(after_calls=True)
        self._attempt.is_deaf = True
        return True

    def _begin_anew(self, *, after_calls: bool) -> None:
        self._attempt = _Attempt(number=self._number(), after_calls=after_calls)
        self._has_news()
