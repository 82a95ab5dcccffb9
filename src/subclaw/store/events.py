"""Events as the store keeps them: a type name and a JSON body."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from subclaw.core import access, approval, event, manners, oauth, outgoing
from subclaw.core.errors import Corrupt
from subclaw.core.event import Event

_TYPES: Mapping[str, type[Event]] = {
    "message.received": event.MessageReceived,
    "message.kept": event.MessageKept,
    "attachments.kept": event.AttachmentsKept,
    "schedule.due": event.ScheduleDue,
    "secret.set": access.SecretSet,
    "account.lost": oauth.AccountLost,
    "access.decided": access.AccessDecided,
    "turn.started": event.TurnStarted,
    "model.replied": event.ModelReplied,
    "model.failed": event.ModelFailed,
    "model.cancelled": event.ModelCancelled,
    "turn.overdue": event.TurnOverdue,
    "budget.warned": event.BudgetWarned,
    "budget.reached": event.BudgetReached,
    "history.summarised": event.HistorySummarised,
    "history.summary_failed": event.SummaryFailed,
    "tool.started": event.ToolStarted,
    "tool.finished": event.ToolFinished,
    "reply.queued": event.ReplyQueued,
    "reply.sent": event.ReplySent,
    "turn.finished": event.TurnFinished,
    "approval.requested": approval.ApprovalRequested,
    "approval.decided": approval.ApprovalDecided,
    "approval.lapsed": approval.ApprovalLapsed,
    "decision.refused": approval.DecisionRefused,
    "answer.sent_back": manners.AnswerSentBack,
    "answer.cut": manners.AnswerCut,
    "files.taken": outgoing.FilesTaken,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}
_ADAPTERS: Mapping[str, TypeAdapter[Event]] = {name: TypeAdapter(kind) for name, kind in _TYPES.items()}


def encode(events: Iterable[Event]) -> str:
    """Return events as the JSON array that the store's functions take."""
    names = ((_NAMES[type(event)], event) for event in events)
    return json.dumps([{"type": name, "body": storable(_ADAPTERS[name].dump_python(event))} for name, event in names])


def decode(rows: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    """Return events from the store's JSON array. Errors: `Corrupt` if one cannot be read."""
    try:
        return tuple(_ADAPTERS[row["type"]].validate_python(row["body"]) for row in rows)
    except (KeyError, ValidationError) as error:
        raise Corrupt("This conversation cannot be read.", internal=f"event: {type(error).__name__}") from error


def storable_event(event: Event) -> Event:
    """Return an event as it comes back from the store."""
    adapter = _ADAPTERS[_NAMES[type(event)]]
    return adapter.validate_python(storable(adapter.dump_python(event)))


def storable(value: Any) -> Any:
    """Return a JSON value without what PostgreSQL's jsonb refuses: NUL and lone surrogates become U+FFFD.

    Times are text, in ISO 8601.
    """
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
        case datetime():
            return value.isoformat()
        case Mapping():
            return {key: storable(item) for key, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
        case _:
            return value
