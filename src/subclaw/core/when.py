"""When something is to happen, as a model says it: a small set of English phrases, and ISO 8601. Nothing is guessed.

    in 20 minutes · in an hour and a half · in 2 days at 9 · a week from now
    tomorrow at 9 · today 17:00 · tonight at 8 · day after tomorrow, in the morning
    friday 15:30 · next friday at 3:30pm · 24 december at 18:00 · dec 24, 2026, 6pm
    at 5 · noon · 17:00
    2026-12-01 09:00 · 2026-12-01 at 9am · 2026-12-01T09:00+01:00 · 2026-12-01T09:00Z

A phrase counts only if all of it is understood. What it leaves open is settled by rule, and the result says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from subclaw.core.errors import Invalid
from subclaw.core.recurrence import AHEAD_LIMIT
from subclaw.core.time_zone import instant_of, say_instant, wall_of

TEXT_LIMIT_CHARACTERS = 60

ZONE_WANTED = (
    "The person's time zone is not known yet. Ask them where they are, then say it as time_zone, such as "
    "Europe/Berlin: it is remembered. Without it you can say 'in 20 minutes', or a time with an offset."
)

MORNING, NOON, MIDNIGHT = time(9), time(12), time(0)
_PARTS_OF_DAY = {"morning": MORNING, "afternoon": time(15), "evening": time(19), "night": time(21)}

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_NUMBERS |= {"nine": 9, "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30}
_MINUTES = {"second": 1 / 60, "sec": 1 / 60, "minute": 1, "min": 1, "hour": 60, "hr": 60, "h": 60}
_MINUTES |= {"day": 24 * 60, "week": 7 * 24 * 60}


@dataclass(frozen=True, kw_only=True)
class When:
    """The instant that was meant, in UTC. `note` says what was settled; it is empty if nothing was open."""

    due_at: datetime
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class _Clock:
    """A time of day, as it was `said`. One that `is_open` may be meant twelve hours later as well: "at 5"."""

    at: time
    said: str = ""
    is_open: bool = False


def parse_when(text: str, *, now: datetime, zone: tzinfo | None) -> When:
    """Return the instant that a phrase means, said now by somebody whose clocks are those of `zone`.

    Errors: `Invalid`, in words for a model: if the phrase is not understood, if it is past or more than `AHEAD_LIMIT`
    ahead, if it means a time on the person's wall and there is no `zone`.
    """
    phrase = " ".join(text.lower().replace(",", " ").split()).rstrip(".")
    if not phrase or len(phrase) > TEXT_LIMIT_CHARACTERS:
        raise _not_understood(text)
    try:
        when = _elapsed(phrase, now) or _written(phrase, zone) or _spoken(phrase, now, zone)
    except OverflowError:
        raise Invalid("That is beyond all calendars.") from None
    if when is None:
        raise _not_understood(text)
    told = say_instant(now, zone or UTC)
    if when.due_at < now:
        raise Invalid(f"{text!r} is past: {say_instant(when.due_at, zone or UTC)}. It is now {told}.")
    if when.due_at - now > AHEAD_LIMIT:
        raise Invalid(f"That is more than five years ahead. It is now {told}.")
    return when


def _not_understood(text: str) -> Invalid:
    return Invalid(
        f"The time {text[:TEXT_LIMIT_CHARACTERS]!r} is not understood. Say it in English such as 'in 20 minutes', "
        "'tomorrow at 9', 'friday 15:30', 'at 17:00', or as 2026-12-01 09:00."
    )


_AMOUNT = rf"(?:\d{{1,7}}(?:\.\d{{1,3}})?|{'|'.join(_NUMBERS)})"
_LENGTHS = rf"{_AMOUNT} ?(?:{'|'.join(_MINUTES)})s?(?: and a half)?|half an hour"
_SPAN = rf"(?:{_LENGTHS})(?: ?(?:and )?(?:{_LENGTHS}))*"
_ELAPSED = re.compile(rf"in ({_SPAN})|({_SPAN}) from now")
_LENGTH = re.compile(rf"({_AMOUNT}) ?({'|'.join(_MINUTES)})s?( and a half)?\b|(half an hour)")


def _elapsed(phrase: str, now: datetime) -> When | None:
    """Read a span of time, all of which is hours, minutes or seconds. Days are for the calendar."""
    found = _ELAPSED.fullmatch(phrase)
    if not found or re.search(r"day|week", phrase):
        return None
    return When(due_at=now.astimezone(UTC) + timedelta(minutes=_span_minutes(found[1] or found[2])))


def _span_minutes(span: str) -> float:
    total = 0.0
    for amount, unit, and_half, half in _LENGTH.findall(span):
        count = 0.5 if half else (_NUMBERS.get(amount) or float(amount)) + (0.5 if and_half else 0)
        total += count * _MINUTES["hour" if half else unit]
    return total


_WRITTEN = re.compile(r"\d{4}-\d\d-\d\d[t ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?( ?z|[+-]\d\d:?\d\d)?")


def _written(phrase: str, zone: tzinfo | None) -> When | None:
    """Read ISO 8601 with a time of day."""
    if not _WRITTEN.fullmatch(phrase):
        return None
    try:
        moment = datetime.fromisoformat(phrase.upper().replace(" Z", "Z"))
    except ValueError:
        return None
    return _on_wall(moment, zone, "") if moment.tzinfo is None else When(due_at=moment.astimezone(UTC))


def _on_wall(wall: datetime, zone: tzinfo | None, note: str) -> When:
    if zone is None:
        raise Invalid(ZONE_WANTED)
    due_at = instant_of(wall, zone)
    if (shown := wall_of(due_at, zone)) != wall:
        note = f"clocks go forward then and {wall:%H:%M} does not exist: taken as {shown:%H:%M}"
    return When(due_at=due_at, note=note)


def _names(words: tuple[str, ...]) -> str:
    return "|".join(f"{word}|{word[:3]}" for word in words)


_DAY = re.compile(
    r"(?P<after>(?:the )?day after tomorrow)|(?P<tomorrow>tomorrow)|(?P<today>today)|(?P<tonight>tonight)"
    rf"|in (?P<ahead>{_AMOUNT}) (?P<unit>day|week)s?|(?P<ahead2>{_AMOUNT}) (?P<unit2>day|week)s? from now"
    rf"|(?:on )?(?P<next>next )?(?:this )?(?P<weekday>{_names(_DAYS)})"
    r"|(?:on )?(?P<iso>\d{4}-\d\d-\d\d)"
    rf"|(?:on )?(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?(?: of)? (?P<month>{_names(_MONTHS)})"
    r"(?: (?P<year>\d{4}))?"
    rf"|(?:on )?(?P<month2>{_names(_MONTHS)}) (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?(?: (?P<year2>\d{{4}}))?"
)
_CLOCK = re.compile(
    r"(?:at |by )?(?:(?P<noon>noon|midday)|(?P<midnight>midnight)"
    r"|(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d))?)?"
    r"(?: ?(?P<half>am|pm|a\.m\.?|p\.m\.?))?(?: ?o'?clock)?)"
)
_PART = re.compile(rf"(?:in the |this |at )?(?P<part>{'|'.join(_PARTS_OF_DAY)})")


def _spoken(phrase: str, now: datetime, zone: tzinfo | None) -> When | None:
    """Read a day and a time of day, either of which may be left out, in any order."""
    day, rest = _take(_DAY, phrase)
    part, rest = _take(_PART, rest)
    bare = rest.strip()
    clock, rest = _take(_CLOCK, rest)
    if rest or not (day or part or clock) or (bare.isdecimal() and not (day or part)):
        return None  # a number alone may be anything
    tonight = bool(day and day["tonight"])
    part_of_day = "evening" if tonight else (part["part"] or "") if part else ""
    said = _clock(clock, part_of_day) if clock else None
    if said is None and clock:
        return None
    if zone is None:
        raise Invalid(ZONE_WANTED)
    here = wall_of(now, zone).replace(microsecond=0)
    if said is None and part_of_day:
        said = _Clock(at=_PARTS_OF_DAY[part_of_day])
    if not day:
        return _next_time(said, here, zone) if said else None
    on = _date(day, here.date())
    if on is None:
        return None
    late = bool(clock and clock["midnight"]) and (tonight or bool(day["today"]))
    return _on_day(on + timedelta(days=late), day, said, here, zone)


def _take(pattern: re.Pattern[str], text: str) -> tuple[Mapping[str, str | None] | None, str]:
    """Return what a pattern finds as words of their own, and the rest of the text."""
    found = re.search(rf"(?<!\S)(?:{pattern.pattern})(?!\S)", text)
    if not found:
        return None, text
    return found.groupdict(), " ".join(f"{text[: found.start()]} {text[found.end() :]}".split())


def _clock(found: Mapping[str, str | None], part_of_day: str) -> _Clock | None:
    """Return the time of day, or None if there is no such."""
    if found["noon"] or found["midnight"]:
        return _Clock(at=NOON if found["noon"] else MIDNIGHT)
    written = found["hour"] or ""
    hour, minute, second = int(written), int(found["minute"] or 0), int(found["second"] or 0)
    half = (found["half"] or "")[:1]
    if half and not 1 <= hour <= 12:
        return None
    is_open = not half and not part_of_day and 1 <= hour <= 12 and not written.startswith("0")
    if not half and part_of_day and 1 <= hour <= 12:
        half = "a" if part_of_day == "morning" or (part_of_day == "night" and hour in (12, 1, 2, 3, 4)) else "p"
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    said = f"{written}:{minute:02}" if found["minute"] else written
    return _Clock(at=time(hour, minute, second), said=said, is_open=is_open)


def _next_time(clock: _Clock, here: datetime, zone: tzinfo) -> When:
    """Return the next time that a clock shows that: within a day, or within half a day if it may be meant twice."""
    times = [clock.at, *([_half_a_day_on(clock.at)] if clock.is_open else [])]
    walls = [datetime.combine(here.date() + timedelta(days=days), at) for days in (0, 1) for at in times]
    wall = min(wall for wall in walls if wall > here)
    return _on_wall(wall, zone, f"{clock.said} was taken as {wall:%H:%M}, the next such time" if clock.is_open else "")


def _half_a_day_on(at: time) -> time:
    return at.replace(hour=(at.hour + 12) % 24)


def _on_day(on: date, day: Mapping[str, str | None], clock: _Clock | None, here: datetime, zone: tzinfo) -> When | None:
    ahead = day["ahead"] or day["ahead2"]
    if clock is None and day["today"]:
        raise Invalid("Say at what time today.")
    if clock is None:
        at = here.time() if ahead else MORNING
        return _on_wall(datetime.combine(on, at), zone, f"no time was said: taken as {at:%H:%M}")
    wall = datetime.combine(on, clock.at)
    if not clock.is_open:
        if wall <= here and day["weekday"]:
            wall += timedelta(days=7)
        return _on_wall(wall, zone, "")
    later = datetime.combine(on, _half_a_day_on(clock.at))
    if on == here.date() and wall <= here < later:
        wall = later
    elif wall <= here and day["weekday"]:
        wall += timedelta(days=7)
    as_said = clock.said == f"{wall:%H:%M}"
    return _on_wall(wall, zone, "" if as_said else f"{clock.said} was taken as {wall:%H:%M}")


def _date(day: Mapping[str, str | None], today: date) -> date | None:
    """Return the day that is meant, or None if there is no such."""
    if day["today"] or day["tonight"]:
        return today
    if day["tomorrow"] or day["after"]:
        return today + timedelta(days=1 if day["tomorrow"] else 2)
    if ahead := day["ahead"] or day["ahead2"]:
        count = float(_NUMBERS.get(ahead) or ahead)
        days = count * (7 if "week" in (day["unit"], day["unit2"]) else 1)
        return today + timedelta(days=days) if days.is_integer() else None
    if name := day["weekday"]:
        on = (_place(_DAYS, name) - today.weekday()) % 7
        return today + timedelta(days=7 if day["next"] and on == 0 else on)
    try:
        if written := day["iso"]:
            return date.fromisoformat(written)
        month = _place(_MONTHS, day["month"] or day["month2"] or "") + 1
        number, year = int(day["day"] or day["day2"] or 0), day["year"] or day["year2"]
        if year:
            return date(int(year), month, number)
        this_year = date(today.year, month, number)
        return this_year if this_year >= today else date(today.year + 1, month, number)
    except ValueError:
        return None


def _place(words: tuple[str, ...], name: str) -> int:
    return next(place for place, word in enumerate(words) if word.startswith(name))
