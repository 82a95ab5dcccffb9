"""What happens with a schedule that is due: it happens, late perhaps, or is left out; and when it comes again."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from subclaw.core.errors import Invalid
from subclaw.core.recurrence import Occurrence, Recurrence, later_occurrences
from subclaw.core.schedule import IfMissed
from subclaw.core.time_zone import read_zone

MISSED_AFTER = timedelta(minutes=5)
"""From here on a schedule is late: its words may no longer fit, so it says when it was due, or is left out."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """A schedule that is due, without its words. `time_zone` may be empty."""

    id: int
    due_at: datetime
    if_missed: IfMissed
    time_zone: str
    recurrence: Recurrence | None


@dataclass(frozen=True, kw_only=True)
class Firing:
    """What is done with a schedule that is due.

    It `happens`, its text after `preface`, or it does not. `next` is the time at which it comes again; None if this was
    the last. `missed` counts the times that were left out. `failure` says why it cannot go on, if it should.
    """

    id: int
    happens: bool
    preface: str
    next: Occurrence | None
    missed: int
    failure: str = ""


def decide_firing(due: Due, now: datetime) -> Firing:
    """Decide on a schedule that is due. Of all the times of one that were missed at once it happens once, or never."""
    following, passed, failure = _next_time(due.recurrence, now)
    late = now - due.due_at > MISSED_AFTER
    happens = not late or due.if_missed is IfMissed.LATE
    return Firing(
        id=due.id,
        happens=happens,
        preface=_late_words(due, passed, now) if late and happens else "",
        next=following,
        missed=passed + (not happens),
        failure=failure,
    )


def _next_time(recurrence: Recurrence | None, now: datetime) -> tuple[Occurrence | None, int, str]:
    """Return the first time after now, and how many passed before it."""
    passed = 0
    if recurrence is None:
        return None, passed, ""
    try:
        for occurrence in later_occurrences(recurrence):
            if occurrence.due_at > now:
                return occurrence, passed, ""
            passed += 1
    except Invalid:  # the rules of time zones change, and so may what the library takes
        return None, passed, "rule"
    return None, passed, ""


def _late_words(due: Due, passed: int, now: datetime) -> str:
    again = f", and {passed} more time{'s' if passed > 1 else ''} since" if passed else ""
    return f"This was due at {say_time(due.due_at, due.time_zone, now)}{again}:\n"


def say_time(instant: datetime, time_zone: str, now: datetime) -> str:
    """Return a time as a person reads it, in their zone: "09:00", with the day if that is not today's."""
    zone = zone_or_utc(time_zone)
    there, here = instant.astimezone(zone), now.astimezone(zone)
    day = "" if there.date() == here.date() else f" on {there:%A}, {there.day} {there:%B}"
    return f"{there:%H:%M}{' UTC' if zone is UTC else ''}{day}"


def failure_words(due_at: datetime, time_zone: str, failure: str, now: datetime) -> str:
    """Return what a person is told, before its text, of a schedule that did not work out."""
    what = _FAILED.get(failure, "did not work out")
    return f"The reminder of {say_time(due_at, time_zone, now)} {what}:\n"


_FAILED = {
    "unknown": "may not have reached you",
    "rule": "was the last, since its rule or its time zone cannot be read any more",
}


def zone_or_utc(name: str) -> tzinfo:
    """Return a time zone, or UTC if it is not known, or no longer."""
    try:
        return read_zone(name) if name else UTC
    except Invalid:
        return UTC
