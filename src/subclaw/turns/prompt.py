"""The prompt: a conversation's history, fitted to what a model is sent."""

from collections.abc import Sequence

from subclaw.core.model import ModelSaid, Prompt, ToolSaid, UserSaid, Utterance
from subclaw.core.tool import ToolDefinition
from subclaw.core.transcript import Event, history

HISTORY_LIMIT_CHARACTERS = 120_000
"""Longest history that a model is sent: some 30,000 tokens, which every supported model takes."""


def make_prompt(instructions: str, tools: Sequence[ToolDefinition], events: Sequence[Event]) -> Prompt:
    """Return what a model is sent for the next step."""
    return Prompt(instructions=instructions, history=fit(history(events), HISTORY_LIMIT_CHARACTERS), tools=tools)


def fit(said: Sequence[Utterance], limit_characters: int) -> tuple[Utterance, ...]:
    """Return the newest part of a history within the limit, beginning with a person's message.

    What was said since the newest such message is always kept, whatever its length: it is what is to be answered.
    """
    starts = [index for index, utterance in enumerate(said) if isinstance(utterance, UserSaid)]
    if not starts:
        return ()
    kept, total = starts[-1], sum(map(_length, said[starts[-1] :]))
    for start in reversed(starts[:-1]):
        total += sum(map(_length, said[start:kept]))
        if total > limit_characters:
            break
        kept = start
    return tuple(said[kept:])


def _length(utterance: Utterance) -> int:
    match utterance:
        case UserSaid(text=text):
            return len(text)
        case ModelSaid(text=text, calls=calls):
            return len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
        case ToolSaid(content=content):
            return len(content)
