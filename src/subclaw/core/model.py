"""A model: what answers a conversation. The port, and the values that cross it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from subclaw.core.errors import Invalid
from subclaw.core.tool import ToolCall, ToolDefinition

REPLY_LIMIT_TOKENS = 8_192
"""Longest reply of a model, unless that is more than a quarter of its window."""


def reply_limit_tokens(window_tokens: int) -> int:
    """Return how long a reply may be of a model with such a window."""
    return min(REPLY_LIMIT_TOKENS, window_tokens // 4)


class TooLong(Invalid):
    """The prompt is longer than the model's context window: a shorter one may do."""


@dataclass(frozen=True, kw_only=True)
class UserSaid:
    """A person's message."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ModelSaid:
    """The model's own earlier reply: words, tool calls, or both."""

    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ToolSaid:
    """What a tool call came to."""

    call: ToolCall
    content: str


Utterance = UserSaid | ModelSaid | ToolSaid


class Hearer(Protocol):
    """Whoever hears a reply's words while the model says them. Nothing of it counts before the reply is there."""

    def begins(self) -> bool:
        """Hear that a reply begins, and that what was heard before is void; return whether it is listened to."""
        ...

    def hears(self, text: str) -> None:
        """Hear all of the reply's words so far."""
        ...

    def calls(self) -> None:
        """Hear that the reply makes tool calls: so its words are not for the person."""
        ...


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """All that a model is sent for one step. The reply is to have at most `limit_tokens`, and never more than usual.

    A `hearer` is nothing that is sent: a model that can say its words as they come tells them to it.
    """

    instructions: str
    history: Sequence[Utterance]
    tools: Sequence[ToolDefinition]
    limit_tokens: int = REPLY_LIMIT_TOKENS
    hearer: Hearer | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one model call used.

    `model` is the name that answered and `choice` the model that was asked, as `provider:model`. `input_tokens` counts
    all of the input, also what the provider read from its cache or wrote to it. The call cost `cost_microusd`.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    choice: str = ""
    cost_microusd: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelReply:
    """A model's answer to one prompt. If it was `refused`, `text` says so, in the model's words or ours."""

    text: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    refused: bool = False


class Model(Protocol):
    """Something that answers prompts.

    Errors: `Unavailable` (down, slow, overloaded: try again), `Exhausted` (the account's limit), `Unauthenticated` and
    `Denied` (the operator's key), `TooLong` (the prompt must be shortened), `Invalid` (the request does not suit the
    model). What may pass was waited out and tried again before.
    """

    async def ask(self, prompt: Prompt) -> ModelReply:
        """Answer one prompt."""
        ...
