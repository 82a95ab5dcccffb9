"""What comes again: iCalendar's recurrence rules (RFC 5545, 3.3.10), walked by the clock on a person's wall.

The rule itself is python-dateutil's affair. It knows no time zones here: it is given times on the wall, and what they
mean as instants is said by `core.time_zone`, so that nine o'clock stays nine o'clock all year.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta

from dateutil.rrule import rrulestr

from subclaw.core.errors import Invalid
from subclaw.core.time_zone import instant_of, read_zone

RULE_LIMIT_CHARACTERS = 200

SHORTEST_INTERVAL = timedelta(minutes=5)
"""What comes again comes no more often than this."""

AHEAD_LIMIT = timedelta(days=5 * 366)
"""How far ahead a schedule may be, and how far its next time may lie after the one before: five years."""

COUNT_LIMIT = 100_000

_FREQUENCIES = frozenset({"YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"})
_PARTS = frozenset({"FREQ", "INTERVAL", "WKST", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYHOUR", "BYMINUTE", "BYSETPOS"})
_INTERVAL_LIMIT = 10_000
_LOOKED_AT = 200
"""How many times of a new rule are looked at for whether they come too often. The times of a day are the same every
day, so the first days tell."""

_LAST_YEARS = range(MAXYEAR - 35, MAXYEAR - 7)
"""28 years, no two of which have the same calendar; none of the years in between is a century's."""


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """What a schedule needs in order to come again.

    `rule` is an RRULE without COUNT and UNTIL; `wall` its next time as a clock in `time_zone` shows it, without an
    offset, and also if clocks go forward over it. `left` says how often it comes, that one included (None: for ever);
    after `until` it does not.
    """

    rule: str
    time_zone: str
    wall: datetime
    left: int | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """One time of a recurrence: when, in UTC, and the recurrence as it stands then."""

    due_at: datetime
    recurrence: Recurrence


def parse_recurrence(text: str, *, begin: datetime, time_zone: str) -> Recurrence:
    """Return the recurrence of a rule whose times are not before `begin`, the time on the wall, without an offset.

    Errors: `Invalid`, in words for a model, if it is no rule, has no time or comes too often.
    """
    parts = _read_parts(text)
    count, until = parts.pop("COUNT", None), parts.pop("UNTIL", None)
    start = Recurrence(
        rule=";".join(f"{name}={value}" for name, value in parts.items()),
        time_zone=time_zone,
        wall=begin.replace(microsecond=0),
        left=None if count is None else _whole("COUNT", count, COUNT_LIMIT),
        until=None if until is None else _read_until(until, time_zone),
    )
    first = list(itertools.islice(_walls(start.rule, start.wall), _LOOKED_AT))
    if any(later - earlier < SHORTEST_INTERVAL for earlier, later in itertools.pairwise(first)):
        minutes = SHORTEST_INTERVAL // timedelta(minutes=1)
        raise Invalid(f"That comes more often than every {minutes} minutes, which is the most there is.")
    return start


def first_occurrence(start: Recurrence, now: datetime) -> Occurrence:
    """Return the first time that is not past. Times before it do not count. Errors: `Invalid` if there is none."""
    zone = read_zone(start.time_zone)
    for wall in _walls(start.rule, start.wall):
        due_at = instant_of(wall, zone)
        if _is_over(start, due_at) or due_at - now > AHEAD_LIMIT:
            break
        if due_at >= now:
            return Occurrence(due_at=due_at, recurrence=replace(start, wall=wall))
    raise Invalid("That has no time which is still to come, within the next five years.")


def later_occurrences(recurrence: Recurrence) -> Iterator[Occurrence]:
    """Yield the times after the one at which the recurrence stands, each later than the one before, to the end.

    Errors: `Invalid` if the rule or the time zone is none any more.
    """
    zone = read_zone(recurrence.time_zone)
    last, left = instant_of(recurrence.wall, zone), recurrence.left
    for wall in _walls(recurrence.rule, recurrence.wall):
        due_at = instant_of(wall, zone)
        if due_at <= last:  # itself; or moved forward onto one that is there already
            continue
        left = None if left is None else left - 1
        if left == 0 or _is_over(recurrence, due_at) or due_at - last > AHEAD_LIMIT:
            return
        yield Occurrence(due_at=due_at, recurrence=replace(recurrence, wall=wall, left=left))
        last = due_at


def _is_over(recurrence: Recurrence, due_at: datetime) -> bool:
    return recurrence.until is not None and due_at > recurrence.until


def _walls(rule: str, begin: datetime) -> Iterator[datetime]:
    """Yield a rule's times from `begin` on, for eight years at least. Errors: `Invalid` if it is no rule.

    The library looks for the next time until the year 9999, which takes seconds if there is none (30 February). So it
    is given the last years that have the same calendar: its search ends soon by itself.
    """
    year = next(year for year in _LAST_YEARS if _calendar(year) == _calendar(begin.year))
    years = year - begin.year
    try:
        for moment in rrulestr(rule, dtstart=begin.replace(year=year)):
            yield moment.replace(year=moment.year - years)
    except (ValueError, TypeError, KeyError, IndexError) as error:  # also in the middle: BYDAY=99MO
        raise Invalid(f"repeat is no rule: {str(error)[:100]}. {_EXAMPLE}") from None


def _calendar(year: int) -> tuple[int, int]:
    """Return what two years of one century, with the same, have in common: their calendars, and those that follow."""
    return date(year, 1, 1).weekday(), year % 4


_EXAMPLE = "Write an iCalendar RRULE such as FREQ=WEEKLY;BYDAY=MO,TH or FREQ=DAILY;COUNT=10."


def _read_parts(text: str) -> dict[str, str]:
    rule = text.strip().upper().removeprefix("RRULE:")
    parts: dict[str, str] = {}
    for part in rule.split(";"):
        name, _, value = part.partition("=")
        if name not in _PARTS | {"COUNT", "UNTIL"} or not value or name in parts:
            raise Invalid(f"repeat is not understood at {part[:40]!r}. {_EXAMPLE}")
        parts[name] = value
    frequency = parts.get("FREQ")
    if frequency not in _FREQUENCIES:
        raise Invalid(f"FREQ is one of {', '.join(sorted(_FREQUENCIES))}. {_EXAMPLE}")
    if "COUNT" in parts and "UNTIL" in parts:
        raise Invalid("A rule has COUNT or UNTIL, not both.")
    if "BYSETPOS" in parts and frequency not in {"YEARLY", "MONTHLY", "WEEKLY"}:
        raise Invalid("BYSETPOS goes with YEARLY, MONTHLY and WEEKLY.")
    if "INTERVAL" in parts:
        _whole("INTERVAL", parts["INTERVAL"], _INTERVAL_LIMIT)
    return parts


def _whole(name: str, text: str, limit: int) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= limit:
        return int(text)
    raise Invalid(f"{name} is a whole number from 1 to {limit}.")


def _read_until(text: str, time_zone: str) -> datetime:
    """Return the last instant. A date is the whole day, and what has no Z is a time on the wall."""
    for form in ("%Y%m%d", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ"):
        try:
            read = datetime.strptime(text, form)
        except ValueError:
            continue
        if form.endswith("Z"):
            return read.replace(tzinfo=UTC)
        return instant_of(read if "T" in form else datetime.combine(read, time.max), read_zone(time_zone))
    raise Invalid("UNTIL is a date such as 20301231, or a time such as 20301231T170000Z.")
