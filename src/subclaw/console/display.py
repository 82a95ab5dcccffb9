"""Figures, states and times as the pages say them."""

from collections.abc import Mapping
from datetime import UTC, datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SCALES = ((10**9, "G"), (10**6, "M"), (10**4, "k"))

EVENTS: Mapping[str, str] = {
    "message.received": "Message received",
    "message.kept": "Long message put aside",
    "attachments.kept": "Files put into the machine",
    "turn.started": "Turn began",
    "model.replied": "Model replied",
    "model.failed": "Model failed",
    "model.cancelled": "Model not waited for",
    "turn.overdue": "Time is over",
    "budget.warned": "Budget nearly used",
    "budget.reached": "Budget used up",
    "history.summarised": "History summarised",
    "history.summary_failed": "No summary came about",
    "tool.started": "Tool began",
    "tool.finished": "Tool finished",
    "schedule.due": "Reminder came due",
    "secret.set": "Secret handed over",
    "account.lost": "Account lost",
    "access.decided": "Operator decided on a host",
    "reply.queued": "Reply written",
    "reply.sent": "Reply handed over",
    "turn.finished": "Turn ended",
    "approval.requested": "Approval asked for",
    "approval.decided": "Approval decided",
    "approval.lapsed": "Approval lapsed",
    "decision.refused": "Decision not taken",
    "answer.sent_back": "Answer sent back to the model",
    "answer.cut": "Answer cut",
    "files.taken": "Files taken from the machine",
}
"""What events are called. A type that is not here is shown as it is."""

STATES: Mapping[str, str] = {
    "answered": "answered",
    "waiting": "waiting for approval",
    "approved": "approved",
    "declined": "declined",
    "expired": "expired",
    "void": "withdrawn",
    "model_failed": "model failed",
    "stuck": "stopped: stuck",
    "over_budget": "over budget",
    "stopped": "stopped by the person",
    "interrupted": "interrupted by a message",
    "sent": "sent",
    "refused": "refused",
    "failed": "failed",
    "unknown": "outcome unknown",
    "error": "error",
    "undelivered": "not delivered",
    "rule": "cannot come again",
    "queued": "waiting",
}

TROUBLES = frozenset(
    {"model_failed", "stuck", "over_budget", "refused", "failed", "unknown", "error", "model.failed"}
) | {
    "undelivered",
    "rule",
}
"""States and events that an operator looks for."""


def lasting(seconds: float) -> str:
    """Return a length of time in its greatest unit: "3 min"."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago a time was, or how soon it will be: "3 min ago", "in 8 s", "just now"."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    return f"{lasting(seconds)} ago" if seconds > 0 else f"in {lasting(-seconds)}"


def exact(then: datetime) -> str:
    """Return a time to the second, in UTC."""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(then: datetime, now: datetime) -> str:
    """Return the time of day in UTC, with the date if that is not today's."""
    then, now = then.astimezone(UTC), now.astimezone(UTC)
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def count(number: int) -> str:
    """Return a number to be read at a glance: "9,876", "12.3k", "4.5M"."""
    for size, letter in _SCALES:
        if number >= size:
            scale = 1_000 if letter == "k" else size
            return f"{number / scale:.1f}{letter}"
    return f"{number:,}"


def event_name(type: str) -> str:
    """Return what an event is called."""
    return EVENTS.get(type, type)


def state_name(state: str) -> str:
    """Return what a state is called."""
    return STATES.get(state, state)
