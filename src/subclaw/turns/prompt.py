"""The prompt: what a model is sent for a step, and what it is asked when a conversation gets too long for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from subclaw.core.context import Fitted, OldPart, Room, fit, fit_or_part, room_of
from subclaw.core.event import Event
from subclaw.core.model import Prompt
from subclaw.core.tokens import BYTES_PER_TOKEN, text_tokens, tool_tokens
from subclaw.core.tool import ToolDefinition

WINDOW_TOKENS = 128_000
"""The window of a model of which no other is known."""

SUMMARY_LIMIT_CHARACTERS = 8_000
"""Longest summary, unless a tenth of the room is less."""

SUMMARY_REQUEST = (
    "[Nobody wrote. This conversation is getting too long for you. Sum up all of it until here, in at most 800 words, "
    "for yourself: from now on you will see your summary in its place. Keep what the person wants, likes and decided, "
    "names, dates, numbers, addresses and paths as they are, what you did and how it turned out, what you promised, "
    "and what is still open. Call no tool. Write the summary, and nothing else.]"
)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What all prompts of a turn have in common: the agent's system text, its tools, and the room in the window."""

    instructions: str
    tools: Sequence[ToolDefinition]
    room: Room


@dataclass(frozen=True, kw_only=True)
class SummaryWanted:
    """A summary to ask the model for. `kept_replies` of its newest replies stay word for word."""

    prompt: Prompt
    kept_replies: int
    limit_characters: int


def make_frame(instructions: str, tools: Sequence[ToolDefinition], window_tokens: int) -> Frame:
    """Return what the prompts of a turn have in common, for a model with such a window."""
    fixed_tokens = text_tokens(instructions) + sum(map(tool_tokens, tools))
    return Frame(instructions=instructions, tools=tools, room=room_of(window_tokens, fixed_tokens))


def make_prompt(frame: Frame, events: Sequence[Event]) -> Prompt:
    """Return what a model is sent for the next step."""
    return _prompt(frame, fit(events, frame.room))


def next_prompt(frame: Frame, events: Sequence[Event]) -> Prompt | SummaryWanted:
    """Return what a model is sent for the next step, or the summary that it is to be asked for before that.

    The prompt of a summary begins as those of the steps do, tools included, so that most of it is in the provider's
    cache.
    """
    fitted = fit_or_part(events, frame.room, SUMMARY_REQUEST)
    if not isinstance(fitted, OldPart):
        return _prompt(frame, fitted)
    limit_characters = min(SUMMARY_LIMIT_CHARACTERS, frame.room.prompt_tokens // 10 * BYTES_PER_TOKEN)
    return SummaryWanted(
        prompt=_prompt(frame, fitted.fitted), kept_replies=fitted.kept_replies, limit_characters=limit_characters
    )


def make_half_prompt(frame: Frame, events: Sequence[Event]) -> Prompt:
    """Return half as long a prompt, for a model that found the usual one too long."""
    refused_tokens = min(fit(events, frame.room).tokens, frame.room.prompt_tokens)
    return _prompt(frame, fit(events, replace(frame.room, prompt_tokens=refused_tokens // 2)))


def _prompt(frame: Frame, fitted: Fitted) -> Prompt:
    return Prompt(instructions=frame.instructions, history=fitted.history, tools=frame.tools)
