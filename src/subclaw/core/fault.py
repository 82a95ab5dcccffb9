"""Fault points: named places between one effect and the next, where a test can have the process die.

In production nothing happens there. A test's own process says what does, by `install`.
"""

from collections.abc import Callable
from enum import StrEnum


class FaultPoint(StrEnum):
    """The places, in the order in which a message passes them. Names are stable."""

    INTAKE_RECEIVING = "intake.receiving"
    """A message was accepted as proper, and is not stored."""

    INTAKE_RECEIVED = "intake.received"
    """It is stored and its conversation woken; the channel has not acknowledged it."""

    CONTROL_TAKING = "control.taking"
    """A message is for subclaw itself; nothing is done."""

    CONTROL_TAKEN = "control.taken"
    """What it said is done, and the person told; the channel has not acknowledged it."""

    STRANGER_MET = "stranger.met"
    """Somebody unknown wrote; nothing of that is stored."""

    STRANGER_ADMITTED = "stranger.admitted"
    """They have a tenant with a name; what they wrote is not stored, unless it was answered with that."""

    NAME_ANSWERED = "name.answered"
    """What was said of a site's name has its effect and its answer; the channel has not acknowledged it."""

    WORKER_REAPED = "worker.reaped"
    """What dead workers held is free; nobody has claimed it."""

    WORKER_CLAIMED = "worker.claimed"
    """Conversations are this worker's; none of their turns has begun."""

    TURN_OPENED = "turn.opened"
    """The inbox is in the transcript; no step was made."""

    JOURNAL_WRITING = "journal.writing"
    """Something happened in a turn, and is not written."""

    JOURNAL_WRITTEN = "journal.written"
    """It is written, and what was said meanwhile is taken in."""

    MODEL_ASKING = "model.asking"
    """The prompt is made, and not sent."""

    MODEL_REPLIED = "model.replied"
    """The model has answered, which is not written."""

    TOOL_STARTED = "tool.started"
    """That a call starts is written; it is not performed."""

    TOOL_PERFORMED = "tool.performed"
    """The call had its effect; its result is not written."""

    SCHEDULE_SET = "schedule.set"
    """A schedule is kept; the call that set it has not returned."""

    ACCOUNT_GIVEN = "account.given"
    """A provider has given tokens for an account, which are not stored."""

    ACCOUNT_RENEWED = "account.renewed"
    """A provider has renewed an account's tokens, which are not stored."""

    TURN_FINISHING = "turn.finishing"
    """The reply is known, and not written."""

    TURN_FINISHED = "turn.finished"
    """The reply is written and queued, and the lease given back."""

    SCHEDULE_CLAIMED = "schedule.claimed"
    """What is due is in this process's hands; nothing of it has happened."""

    SCHEDULE_FIRED = "schedule.fired"
    """What was due has happened: a message is queued, or a conversation woken."""

    OUTBOX_CLAIMED = "outbox.claimed"
    """Replies are marked as being sent; none is."""

    OUTBOX_SENDING = "outbox.sending"
    """That a part of a reply is being sent is written; it is not handed to its channel."""

    OUTBOX_SENT = "outbox.sent"
    """The channel has said what became of a part, which is not written."""

    OUTBOX_PART_SENT = "outbox.part_sent"
    """That the provider took a part is written; another is to follow."""

    OUTBOX_ASKING = "outbox.asking"
    """A reply may or may not have gone out; its provider is about to be asked."""

    OUTBOX_ASKED = "outbox.asked"
    """The provider has said what it knows, which is not written."""

    OUTBOX_SETTLED = "outbox.settled"
    """It is written."""


_on_reached: Callable[[FaultPoint], None] | None = None


def reached(point: FaultPoint) -> None:
    """Say that a place is reached."""
    if _on_reached is not None:
        _on_reached(point)


def install(on_reached: Callable[[FaultPoint], None]) -> None:
    """Have a function called at every place from now on, in this process."""
    global _on_reached
    _on_reached = on_reached
