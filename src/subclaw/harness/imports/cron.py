"""Times of jobs from elsewhere, as reminders have them: a first time, and an RRULE (RFC 5545) if they come again.

Cron expressions have the five fields of cron(5), with names, lists, ranges and steps, or one of its words such as
`@daily`. What only some programs know (`L`, `W`, `#`) is refused in words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from subclaw.core.errors import Invalid
from subclaw.core.recurrence import AHEAD_LIMIT

_MONTHS = {name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_DAYS = {name: number for number, name in enumerate("sun mon tue wed thu fri sat".split())}
_BYDAY = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]{1,4}))?", re.ASCII)
_DATES = frozenset(range(1, 32))
_WEEKDAYS = frozenset(range(7))
_ALL_MONTHS = frozenset(range(1, 13))
_UNITS = (("DAILY", 24 * 60), ("HOURLY", 60), ("MINUTELY", 1))


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Times that come again. `first` is the first of them, a time of day without an offset; `rule` is an RRULE."""

    first: datetime
    rule: str


@dataclass(frozen=True, kw_only=True)
class _Days:
    """Days that are of these months, dates and days of the week (0 is Sunday)."""

    months: frozenset[int]
    dates: frozenset[int]
    weekdays: frozenset[int]

    def has(self, day: date) -> bool:
        return day.month in self.months and day.day in self.dates and day.isoweekday() % 7 in self.weekdays


def cron_repetitions(expression: str, after: datetime) -> tuple[Repetition, ...]:
    """Return what a cron expression means from `after` on, a time of day without an offset.

    A day of the month and a day of the week mean either of them to cron: two repetitions, of which no day is in both.
    Errors: `Invalid`, in words.
    """
    fields = _WORDS.get(expression.strip().lower(), expression).split()
    if len(fields) != 5:
        raise Invalid(f"{expression[:80]!r} is no cron expression of five fields")
    minutes, hours, dates, months, weekdays = fields
    minute_set, hour_set = _values(minutes, 0, 59), _values(hours, 0, 23)
    date_set, month_set = _values(dates, 1, 31), _values(months, 1, 12, _MONTHS)
    weekday_set = frozenset(day % 7 for day in _values(weekdays, 0, 7, _DAYS))
    if _is_any(dates) or _is_any(weekdays):
        wanted = [_Days(months=month_set, dates=date_set, weekdays=weekday_set)]
    else:
        wanted = [
            _Days(months=month_set, dates=date_set, weekdays=_WEEKDAYS),
            _Days(months=month_set, dates=_DATES - date_set, weekdays=weekday_set),
        ]
    times = [time(hour, minute) for hour in sorted(hour_set) for minute in sorted(minute_set)]
    found = [
        Repetition(first=first, rule=_rule(days, hour_set, minute_set))
        for days in wanted
        if (first := _first(days, times, after))
    ]
    if not found:
        raise Invalid(f"{expression[:80]!r} never comes")
    return tuple(found)


def interval_repetition(step: timedelta, anchor: datetime, after: datetime) -> Repetition:
    """Return what comes with each step from `anchor` on, both times in UTC. Errors: `Invalid`, in words."""
    minutes, rest = divmod(step, timedelta(minutes=1))
    if rest or not timedelta() < step <= AHEAD_LIMIT:
        raise Invalid("it comes in steps that are not whole minutes, or that are too long")
    unit, length = next((unit, length) for unit, length in _UNITS if minutes % length == 0)
    first = anchor if anchor > after else anchor + ((after - anchor) // step + 1) * step
    return Repetition(first=first, rule=f"FREQ={unit};INTERVAL={minutes // length}")


def _is_any(field: str) -> bool:
    return field in ("*", "?")


def _values(field: str, least: int, most: int, names: dict[str, int] | None = None) -> frozenset[int]:
    """Return the numbers that a field has. Errors: `Invalid`."""
    found: set[int] = set()
    for part in ("*" if field == "?" else field).split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise Invalid(f"{field[:40]!r} in a cron expression cannot be said as a reminder")
        first = _number(match["first"], names) if match["first"] else least
        until = most if match["step"] or not match["first"] else first
        last = _number(match["last"], names) if match["last"] else until
        step = int(match["step"] or 1)
        if not (least <= first <= last <= most and step):
            raise Invalid(f"{field[:40]!r} in a cron expression is not within {least} to {most}")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    named = (names or {}).get(text.lower())
    if named is None and not (text.isdecimal() and len(text) <= 4):
        raise Invalid(f"{text[:40]!r} in a cron expression cannot be said as a reminder")
    return int(text) if named is None else named


def _first(days: _Days, times: list[time], after: datetime) -> datetime | None:
    """Return the first time after another, if one comes within the years that a reminder may be ahead."""
    for count in range(AHEAD_LIMIT.days + 1):
        day = after.date() + timedelta(days=count)
        if days.has(day):
            for moment in times:
                if (found := datetime.combine(day, moment)) > after:
                    return found
    return None


def _rule(days: _Days, hours: frozenset[int], minutes: frozenset[int]) -> str:
    return ";".join(_rule_parts(days, hours, minutes))


def _rule_parts(days: _Days, hours: frozenset[int], minutes: frozenset[int]) -> Iterator[str]:
    all_hours, all_minutes = len(hours) == 24, len(minutes) == 60
    yield "FREQ=MINUTELY" if all_hours and all_minutes else "FREQ=HOURLY" if all_hours else "FREQ=DAILY"
    if days.months != _ALL_MONTHS:
        yield f"BYMONTH={_list(days.months)}"
    if days.dates != _DATES:
        yield f"BYMONTHDAY={_list(days.dates)}"
    if days.weekdays != _WEEKDAYS:
        yield f"BYDAY={','.join(_BYDAY[day] for day in sorted(days.weekdays))}"
    if not all_hours:
        yield f"BYHOUR={_list(hours)}"
    if not (all_hours and all_minutes):
        yield f"BYMINUTE={_list(minutes)}"


def _list(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))
