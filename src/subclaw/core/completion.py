"""A completion: a prompt without tools that a model answers beside the conversation, for a tool or a machine's program.

The port, and where on a machine it is reached: at a host that only the egress gateway knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.model import REPLY_LIMIT_TOKENS, ModelReply, ModelSaid, Prompt, UserSaid
from subclaw.core.policy import HTTPS_PORT, Mode, Rule
from subclaw.core.tenant import TenantId

PROMPTS_LIMIT = 20
"""Most prompts that are asked together."""

HOST = "llm.subclaw.internal"
"""The name under which machines reach it. It leads to the control plane, whatever anybody's rules say of it."""

COMPLETE_PATH = "/v1/complete"
CHAT_PATH = "/v1/chat/completions"
"""For programs that speak OpenAI's protocol."""

TENANT_HEADER = "x-subclaw-tenant"
"""In which the gateway tells the control plane whose machine asks."""

BODY_LIMIT_BYTES = 1024**2

RULE = Rule(
    host=HOST,
    ports=(80, HTTPS_PORT),
    methods=("POST",),
    paths=(COMPLETE_PATH, CHAT_PATH),
    mode=Mode.INSPECT,
    comment="the command llm",
)
"""What lets every machine ask."""


@dataclass(frozen=True, kw_only=True)
class Asker:
    """For whom a model is asked: a tenant's agent in one of its conversations, or its machine, which has none."""

    tenant_id: TenantId
    conversation_id: int | None = None


def completion_prompt(text: str, *, system: str = "", max_tokens: float | None = None) -> Prompt:
    """Return a prompt that asks for one text. Errors: `Invalid`, in words, for what cannot be asked."""
    return chat_prompt([UserSaid(text=text)], system=system, max_tokens=max_tokens)


def chat_prompt(history: Sequence[UserSaid | ModelSaid], *, system: str, max_tokens: float | None) -> Prompt:
    """Return a prompt that goes on after what was said, the last of it by the user. Errors: `Invalid`, in words."""
    if not history or not isinstance(history[-1], UserSaid) or not history[-1].text.strip():
        raise Invalid("There is nothing to be answered: the prompt is empty.")
    if max_tokens is not None and max_tokens < 1:
        raise Invalid("max_tokens is at least 1.")
    limit_tokens = REPLY_LIMIT_TOKENS if max_tokens is None else int(min(max_tokens, REPLY_LIMIT_TOKENS))
    said = [replace(utterance, text=sendable(utterance.text)) for utterance in history]
    return Prompt(instructions=sendable(system), history=said, tools=(), limit_tokens=limit_tokens)


def sendable(text: str) -> str:
    """Return a text without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


class Completions(Protocol):
    """Something that answers completions, on the asker's budgets at all levels."""

    async def complete(self, asker: Asker, prompts: Sequence[Prompt]) -> Sequence[ModelReply | SubclawError]:
        """Answer prompts, several at once; return the answers in order, each a reply or why there is none.

        One that a budget has no room for, or that is too many at once, is `Exhausted`; other errors are those of
        `core.model.Model.ask`. If this is cancelled, what is being asked is charged what its prompt took.
        Errors: `SubclawError` if the tenant's model is not known.
        """
        ...
