"""A recorded conversation: its turns, what was said in them, and what tools answered."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subclaw.core.event import (
    Event,
    MessageReceived,
    ModelReplied,
    Prompting,
    ReplyQueued,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from subclaw.core.tool import ToolCall, ToolResult

NOT_RECORDED = "What this call comes to is not known: it was not made when this conversation was recorded."


@dataclass(frozen=True, kw_only=True)
class RecordedTurn:
    """A turn as it was. `before` is all that came before it; `number` counts from 1."""

    number: int
    before: Sequence[Event]
    said: Sequence[Prompting]
    events: Sequence[Event]

    def words(self) -> str:
        """Return what was said to the agent."""
        return "\n".join(event.text for event in self.said if isinstance(event, MessageReceived))


def recorded_turns(events: Sequence[Event]) -> Iterator[RecordedTurn]:
    """Give the finished turns of a transcript in which somebody said something, in order."""
    begin, number = None, 0
    for index, event in enumerate(events):
        if isinstance(event, TurnStarted):
            begin = index
        elif isinstance(event, TurnFinished) and begin is not None:
            turn = events[begin + 1 : index + 1]
            said = [one for one in turn if isinstance(one, Prompting) and not getattr(one, "turned_away", False)]
            if said:
                number += 1
                yield RecordedTurn(number=number, before=events[:begin], said=said, events=turn)
            begin = None


def reply_of(events: Sequence[Event]) -> str:
    """Return what a turn's reply was."""
    return next((event.text for event in reversed(events) if isinstance(event, ReplyQueued)), "")


def calls_of(events: Sequence[Event]) -> tuple[ToolCall, ...]:
    """Return the calls that a model made, in order."""
    return tuple(call for event in events if isinstance(event, ModelReplied) for call in event.calls)


def tokens_of(events: Sequence[Event]) -> int:
    """Return how many tokens a turn's model calls used, both ways."""
    usages = [event.usage for event in events if isinstance(event, ModelReplied)]
    return sum(usage.input_tokens + usage.output_tokens for usage in usages)


def described(call: ToolCall) -> str:
    """Return a call in words: the same for the same arguments, however a model wrote them."""
    try:
        return _described(call.name, json.loads(call.arguments or "{}"))
    except (ValueError, RecursionError):
        return f"{call.name}({call.arguments})"


class Recorded:
    """Serves a turn's calls from what they came to, each result once; the last one of a call again and again."""

    def __init__(self, turn: RecordedTurn) -> None:
        results = {event.call_id: event for event in turn.events if isinstance(event, ToolFinished)}
        self._results: defaultdict[str, list[ToolResult]] = defaultdict(list)
        for call in calls_of(turn.events):
            if found := results.get(call.id):
                self._results[described(call)].append(ToolResult(content=found.content, is_error=found.is_error))
        self.missed: list[str] = []

    def __call__(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Return what a call came to, or that it was not recorded."""
        call = _described(name, arguments)
        results = self._results[call]
        if not results:
            self.missed.append(call)
            return ToolResult(content=NOT_RECORDED, is_error=True)
        return results.pop(0) if len(results) > 1 else results[0]


def _described(name: str, arguments: object) -> str:
    return f"{name}({json.dumps(arguments, sort_keys=True, separators=(',', ':'), ensure_ascii=False)})"
