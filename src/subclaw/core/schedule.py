"""A schedule: what an agent set for later, once or again and again. Its values, and the port that keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from subclaw.core.recurrence import Recurrence
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller

PENDING_LIMIT = 100
"""Most schedules of one tenant that may wait at a time."""

SET_AN_HOUR = 120
"""Most schedules of one tenant that are set within an hour: an agent that wakes itself again and again is slowed."""

TEXT_LIMIT_CHARACTERS = 2_000
"""Longest text of a schedule: it goes out as a message, or is put before the model."""

KEPT_FOR = timedelta(days=30)
"""How long a schedule is kept that is over: it happened for the last time, was cancelled, or missed."""


class ScheduleMode(StrEnum):
    """What happens when a schedule is due: the person gets its text as it is, or the agent wakes and acts on it."""

    MESSAGE = "message"
    AGENT_TURN = "agent_turn"


class IfMissed(StrEnum):
    """What becomes of a schedule that could not happen in time: it happens late, and says so, or is left out."""

    LATE = "late"
    SKIP = "skip"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule that was set, due next (or last) at `due_at`, in UTC.

    `time_zone` is the person's when it was set, empty if nobody knew; with a `recurrence` it comes again. `missed`
    says that it was left out; `failure` what went wrong when it last happened, in a word, or nothing.
    """

    id: int
    due_at: datetime
    mode: ScheduleMode
    text: str
    if_missed: IfMissed = IfMissed.LATE
    time_zone: str = ""
    recurrence: Recurrence | None = None
    missed: bool = False
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known when a call sets a schedule: the person's time zone (empty if nobody has said it), and what the
    same call has set already, before a crash."""

    time_zone: str
    already: Schedule | None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a person has set, and their time zone (empty if nobody has said it).

    What waits comes first, the next one before the others; then what is over and was missed or failed, the latest
    first, and not all of it.
    """

    time_zone: str
    schedules: Sequence[Schedule]


class Schedules(Protocol):
    """Where schedules are kept until they are due."""

    async def known(self, caller: Caller) -> Known:
        """Return what is known before something is set. Errors: `Unavailable`, here and below."""
        ...

    async def remember_zone(self, tenant_id: TenantId, name: str) -> None:
        """Keep the person's time zone, an IANA name that `core.time_zone.read_zone` takes."""
        ...

    async def set(
        self,
        caller: Caller,
        *,
        due_at: datetime,
        mode: ScheduleMode,
        text: str,
        if_missed: IfMissed = IfMissed.LATE,
        time_zone: str = "",
        recurrence: Recurrence | None = None,
    ) -> Schedule:
        """Keep a schedule for the caller's conversation. The same call again finds what it set, and sets nothing.

        `time_zone` is the person's, as far as it is known; that of a `recurrence` goes before it.
        Errors: `Exhausted` if `PENDING_LIMIT` wait already, if `SET_AN_HOUR` were set lately, or if more is sent that
        nobody asked for than is let out.
        """
        ...

    async def pending(self, tenant_id: TenantId) -> Sequence[Schedule]:
        """List what waits, the next one first."""
        ...

    async def listed(self, tenant_id: TenantId) -> Listed:
        """List what a person has set."""
        ...

    async def cancel(self, tenant_id: TenantId, id: int) -> None:
        """See to it that a schedule does not happen (again); once more does no harm.

        Errors: `NotFound`; `Conflict` if it is over already.
        """
        ...
