"""Events: what happens in a conversation, each a value. The transcript is the list of them, and is only appended to.

Events of a subject of its own are with that: approvals (`approval`), answers that are mended (`manners`), access to
hosts and secrets (`access`), accounts at providers (`oauth`), files that go out (`outgoing`).
"""

from dataclasses import dataclass
from enum import StrEnum

from subclaw.core.access import AccessDecided, SecretSet
from subclaw.core.approval import ApprovalEvent
from subclaw.core.attachment import AttachmentClaimed, AttachmentKept
from subclaw.core.manners import AnswerEvent
from subclaw.core.model import Usage
from subclaw.core.oauth import AccountLost
from subclaw.core.outgoing import FilesTaken, OutgoingFile
from subclaw.core.tool import ToolCall


@dataclass(frozen=True, kw_only=True)
class MessageReceived:
    """A person's message was taken from the inbox into the turn. `provider_id` is the channel's name for it.

    One that was turned away came while the agent was busy: it was answered so, and the turn is not about it. `removed`
    says what keys were taken out of it before it was stored (`core.key_shapes`). Where several people write, `speaker`
    is what this one is called. `attachments` came with it.
    """

    text: str
    provider_id: str
    turned_away: bool = False
    removed: tuple[str, ...] = ()
    speaker: str = ""
    attachments: tuple[AttachmentClaimed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AttachmentsKept:
    """The files of the message `provider_id` were put into the machine, or could not be: each, in order."""

    provider_id: str
    kept: tuple[AttachmentKept, ...]


@dataclass(frozen=True, kw_only=True)
class MessageKept:
    """The message `provider_id` is too long to be told whole: its first and last `shown_characters` are.

    `path` is the file in the tenant's machine that has all of it; empty if there was nowhere to put it.
    """

    provider_id: str
    path: str
    shown_characters: int


@dataclass(frozen=True, kw_only=True)
class ScheduleDue:
    """A schedule that the agent had set for itself came due, and its text was taken from the inbox into the turn."""

    schedule_id: int
    text: str


@dataclass(frozen=True, kw_only=True)
class TurnStarted:
    """A turn began; the messages that follow belong to it."""


@dataclass(frozen=True, kw_only=True)
class ModelReplied:
    """The model answered a prompt, with words, tool calls, or both; or refused to, which `text` says."""

    text: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    refused: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelFailed:
    """The model could not be had; `public` says so in words for the person."""

    public: str


@dataclass(frozen=True, kw_only=True)
class ModelCancelled:
    """The model was asked, and its reply not waited for. `usage` is what the prompt took at most: that is paid for."""

    usage: Usage


@dataclass(frozen=True, kw_only=True)
class TurnOverdue:
    """The turn has taken as long as a turn may."""


@dataclass(frozen=True, kw_only=True)
class BudgetWarned:
    """A soft limit was reached; `public` tells the person so, with the reply. Not again before the instant `until`.

    That is an ISO 8601 text, or `infinity`.
    """

    public: str
    until: str


@dataclass(frozen=True, kw_only=True)
class BudgetReached:
    """A hard limit has no room for a model call; `public` says so in words for the person."""

    public: str


@dataclass(frozen=True, kw_only=True)
class HistorySummarised:
    """The model summed up what came before. `text` is told in its place, but for what is still told word for word.

    That is the newest `kept_replies` of the model's replies with what was said to them, and the messages of the turn
    that runs. Replies are counted, since others than the turn's worker may append events in between, but none of those.
    """

    text: str
    kept_replies: int
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class SummaryFailed:
    """No summary came of the model; `usage` is what that cost, if the model answered at all."""

    usage: Usage | None


@dataclass(frozen=True, kw_only=True)
class ToolStarted:
    """A call is about to be performed. Without a `ToolFinished` after it, its outcome is unknown."""

    call_id: str


@dataclass(frozen=True, kw_only=True)
class ToolFinished:
    """A call came to this result."""

    call_id: str
    content: str
    is_error: bool


@dataclass(frozen=True, kw_only=True)
class ReplyQueued:
    """A reply was put in the outbox, with its files, in the same transaction as this event.

    `schedule_id` is set if it is no turn's, but the text of a schedule that came due; `from_conversation_id` if the
    agent sent it from another conversation with the same person.
    """

    text: str
    schedule_id: int | None = None
    from_conversation_id: int | None = None
    files: tuple[OutgoingFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReplySent:
    """The channel took a reply, or could not; `delivery` is a `core.channel.Delivery`."""

    outbox_id: int
    delivery: str


class TurnOutcome(StrEnum):
    """How a turn ended."""

    ANSWERED = "answered"
    WAITING = "waiting"
    MODEL_FAILED = "model_failed"
    STUCK = "stuck"
    OVER_BUDGET = "over_budget"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class TurnFinished:
    """The turn is over."""

    outcome: TurnOutcome


Prompting = MessageReceived | ScheduleDue | SecretSet | AccountLost | AccessDecided
"""What comes from outside for the agent to act on."""

Event = (
    MessageReceived
    | MessageKept
    | AttachmentsKept
    | ScheduleDue
    | SecretSet
    | AccountLost
    | AccessDecided
    | TurnStarted
    | ModelReplied
    | ModelFailed
    | ModelCancelled
    | TurnOverdue
    | BudgetWarned
    | BudgetReached
    | HistorySummarised
    | SummaryFailed
    | ToolStarted
    | ToolFinished
    | ReplyQueued
    | ReplySent
    | TurnFinished
    | ApprovalEvent
    | AnswerEvent
    | FilesTaken
)
