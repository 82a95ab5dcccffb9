"""A schedule: what an agent set for later, to happen once. Its values, when it is due, and the port that keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from subclaw.core.errors import Invalid
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller

PENDING_LIMIT = 100
"""Most schedules of one tenant that may wait at a time."""

TEXT_LIMIT_CHARACTERS = 2_000
"""Longest text of a schedule: it goes out as a message, or is put before the model."""

AHEAD_LIMIT = timedelta(days=5 * 366)
"""How far ahead a schedule may be: five years."""

_MINUTE = timedelta(minutes=1)


class ScheduleMode(StrEnum):
    """What happens when a schedule is due: the person gets its text as it is, or the agent wakes and acts on it."""

    MESSAGE = "message"
    AGENT_TURN = "agent_turn"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule that was set. `due_at` is in UTC."""

    id: int
    due_at: datetime
    mode: ScheduleMode
    text: str


class Schedules(Protocol):
    """Where schedules are kept until they are due."""

    async def set(self, caller: Caller, *, due_at: datetime, mode: ScheduleMode, text: str) -> Schedule:
        """Keep a schedule for the caller's conversation. The same call again finds what it set, and sets nothing.

        Errors: `Exhausted` if `PENDING_LIMIT` wait already; `Unavailable`.
        """
        ...

    async def pending(self, tenant_id: TenantId) -> Sequence[Schedule]:
        """List what waits, the next one first. Errors: `Unavailable`."""
        ...

    async def cancel(self, tenant_id: TenantId, id: int) -> None:
        """See to it that a schedule does not happen; again does no harm.

        Errors: `NotFound`; `Conflict` if it has happened already; `Unavailable`.
        """
        ...


def parse_when(*, in_minutes: float | None, at: str | None, now: datetime) -> datetime:
    """Return the instant that is meant, in UTC: so many minutes from now, or ISO 8601 with an offset.

    Errors: `Invalid`, in words for a model, unless exactly one is given and it lies between now and `AHEAD_LIMIT` on.
    """
    if in_minutes is not None and at is None:
        ahead = _ahead(in_minutes)
    elif at is not None and in_minutes is None:
        ahead = _instant(at, now) - now
    else:
        raise Invalid("Say when: either in_minutes or at.")
    if ahead < timedelta(0):
        raise Invalid(f"That time is past. It is now {say_instant(now)}.")
    if ahead > AHEAD_LIMIT:
        raise Invalid(f"That is more than five years ahead. It is now {say_instant(now)}.")
    return now.astimezone(UTC) + ahead


def say_instant(instant: datetime) -> str:
    """Return an instant as a model reads it: the day of the week and ISO 8601 to the second, in UTC."""
    return f"{instant.astimezone(UTC):%A %Y-%m-%dT%H:%M:%SZ}"


def _ahead(minutes: float) -> timedelta:
    """Return a time span; what is beyond all limits, infinity included, becomes just more than they allow."""
    if minutes != minutes:
        raise Invalid("in_minutes must be a number.")
    limit = AHEAD_LIMIT / _MINUTE + 1
    return min(max(minutes, -1), limit) * _MINUTE


def _instant(text: str, now: datetime) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = datetime.min
    if instant.tzinfo is None:
        example = "2030-01-31T09:00+01:00"
        raise Invalid(f"at must be ISO 8601 with an offset, such as {example}. It is now {say_instant(now)}.")
    return instant
