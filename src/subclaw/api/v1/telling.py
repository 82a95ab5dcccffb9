"""Telling an answer word by word to programs that cannot be told to take words back."""

from dataclasses import dataclass

from subclaw.api.v1.live import Reset
from subclaw.core.errors import Unavailable

HELD_CHARACTERS = 160
"""How much of an answer is held back at first: what an agent says before it uses a tool is mostly shorter."""

BETWEEN = "\n\n"


@dataclass(kw_only=True)
class Telling:
    """What was `heard` of the answer that is being said, and how much of it was `told`; `has_told` anything at all.

    What was said at greater length before the agent used a tool stays, as a part of what it says. That it has `called`
    one may be known before it is heard.
    """

    heard: str = ""
    told: int = 0
    has_told: bool = False
    called: bool = False

    def resets(self, reset: Reset) -> None:
        """Begin anew. Errors: `Unavailable` if words would have to be taken back."""
        if self.told and not reset.after_calls:
            raise _changed()
        self._begin_anew()

    def more(self) -> str:
        """Return what is to be told now of what was heard."""
        return self._tell(self.heard) if self.told or len(self.heard) >= HELD_CHARACTERS else ""

    def ends(self, reply: str) -> str:
        """Return what is still to be told of a reply that counts. Errors: `Unavailable` if it is another one."""
        if not reply.startswith(self.heard[: self.told]):
            if not self.called:
                raise _changed()
            self._begin_anew()
        rest = self._tell(reply)
        self._begin_anew()
        return rest

    def _begin_anew(self) -> None:
        self.heard, self.told, self.called = "", 0, False

    def _tell(self, text: str) -> str:
        more = text[self.told :]
        between = BETWEEN if more and not self.told and self.has_told else ""
        self.told = len(text)
        self.has_told = self.has_told or bool(more)
        return between + more


def _changed() -> Unavailable:
    return Unavailable("The answer became another one after a part of it was sent. The session's events will have it.")
