"""Replay: a recorded conversation, turn by turn, against another version or model, with what tools said then.

Each turn begins with what really came before it, so that one that goes otherwise says nothing of those after it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from subclaw.business.recording import (
    Recorded,
    RecordedTurn,
    calls_of,
    described,
    recorded_turns,
    reply_of,
    tokens_of,
)
from subclaw.business.trial_policy import Occasion
from subclaw.core.event import Event, ModelFailed
from subclaw.store.recordings import Recording
from subclaw.turns.rehearsal import Rehearsal, rehearse, served

TURNS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Went:
    """How a turn went: its reply, its calls in words, and the tokens of its model calls."""

    reply: str
    calls: tuple[str, ...]
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A turn as it was, and as it would be. `failed` says why there is none to compare with.

    `unknown` are calls that were not made then, so that nobody knows what they come to.
    """

    number: int
    said: str
    before: Went
    after: Went
    unknown: tuple[str, ...]
    failed: str

    def changed(self) -> tuple[str, ...]:
        """Return what differs: `failed`, `reply`, `calls`."""
        found = {
            "failed": bool(self.failed),
            "reply": self.before.reply != self.after.reply,
            "calls": self.before.calls != self.after.calls,
        }
        return tuple(name for name, differs in found.items() if differs)


async def replay_turns(rehearsal: Rehearsal, recording: Recording) -> tuple[Compared, ...]:
    """Play the turns of a recorded conversation, some at once, and return how each differs, in order.

    Tools say what they said then, and do nothing, but for the one that reads the version's own skills. The policy
    decides as at the time, and counts what was called in the turn.
    """
    room = asyncio.Semaphore(TURNS_AT_ONCE)

    async def one(turn: RecordedTurn) -> Compared:
        async with room:
            at = recording.times[len(turn.before)]
            occasion = Occasion(at=at, customer=recording.customer, binding=recording.binding)
            return await _compare(rehearsal, turn, occasion)

    return tuple(await asyncio.gather(*map(one, recorded_turns(recording.events))))


async def _compare(rehearsal: Rehearsal, turn: RecordedTurn, occasion: Occasion) -> Compared:
    recorded = Recorded(turn)
    after, _ = await rehearse(rehearsal, served(rehearsal, recorded, occasion), turn.before, turn.said)
    return Compared(
        number=turn.number,
        said=turn.words(),
        before=_went(turn.events),
        after=_went(after),
        unknown=tuple(recorded.missed),
        failed=next((event.public for event in after if isinstance(event, ModelFailed)), ""),
    )


def _went(events: Sequence[Event]) -> Went:
    return Went(reply=reply_of(events), calls=tuple(map(described, calls_of(events))), tokens=tokens_of(events))
