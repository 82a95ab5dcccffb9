"""When a schedule is due: any phrase gives an instant within the limits, or words; and so does any rule."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.core.recurrence import (
    AHEAD_LIMIT,
    SHORTEST_INTERVAL,
    first_occurrence,
    later_occurrences,
    parse_recurrence,
)
from subclaw.core.time_zone import read_zone, wall_of
from subclaw.core.when import parse_when

NOW = datetime(2026, 11, 21, 9, 28, 5, 250_000, tzinfo=UTC)
SOON = NOW.replace(tzinfo=None)
OFFSETS = st.integers(min_value=-23 * 60, max_value=23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
WORDS = st.sampled_from(
    "in at on the next this a an half two 5 9 12 17 30 1.5 9:30 17:00 am pm noon midnight minutes hours days weeks and"
    " from now today tonight tomorrow day after friday sun morning evening december 24 2026 2026-12-01 24th of".split()
)
PHRASES = st.lists(WORDS, max_size=7).map(" ".join)


def instant_or_words(phrase: str, zone: ZoneInfo | None) -> datetime | str:
    try:
        return parse_when(phrase, now=NOW, zone=zone).due_at
    except Invalid as error:
        return error.public


@given(st.text(max_size=80) | PHRASES | st.datetimes().map(str), st.none() | ZONES)
def test_any_phrase_is_an_instant_within_the_limits_or_words(phrase: str, zone: str | None) -> None:
    outcome = instant_or_words(phrase, ZoneInfo(zone) if zone else None)
    assert outcome
    if isinstance(outcome, datetime):
        assert NOW <= outcome <= NOW + AHEAD_LIMIT
        assert outcome.tzinfo is UTC


@given(st.datetimes(timezones=OFFSETS) | st.datetimes(SOON, SOON + 2 * AHEAD_LIMIT, timezones=OFFSETS), ZONES)
def test_an_instant_is_taken_as_it_is_or_refused_for_its_distance(instant: datetime, zone: str) -> None:
    outcome = instant_or_words(instant.isoformat(), ZoneInfo(zone))
    try:
        in_utc = instant.astimezone(UTC)
    except OverflowError:
        assert "beyond all calendars" in str(outcome)
        return
    if in_utc < NOW:
        assert "past" in str(outcome) or "beyond" in str(outcome)
    elif in_utc > NOW + AHEAD_LIMIT:
        assert "five years" in str(outcome) or "beyond" in str(outcome)
    else:
        assert outcome == in_utc


@given(st.integers(min_value=0, max_value=9_999_999), st.sampled_from(["second", "minutes", "hour", "h"]))
def test_spans_are_counted_from_now(count: int, unit: str) -> None:
    span = timedelta(seconds=count * {"second": 1, "minutes": 60, "hour": 3600, "h": 3600}[unit])
    outcome = instant_or_words(f"in {count} {unit}", None)
    if span > AHEAD_LIMIT:
        assert "five years" in str(outcome)
    else:
        assert isinstance(outcome, datetime)
        assert abs(outcome - NOW - span) < timedelta(milliseconds=1)


@given(st.datetimes(SOON + timedelta(days=1), SOON + timedelta(days=1_000)), ZONES)
def test_a_time_on_the_wall_is_what_a_clock_there_shows_unless_it_skips_that(wall: datetime, zone: str) -> None:
    wall = wall.replace(microsecond=0)
    outcome = instant_or_words(str(wall), ZoneInfo(zone))
    assert isinstance(outcome, datetime)
    shown = wall_of(outcome, read_zone(zone))
    assert shown == wall or timedelta(0) < shown - wall <= timedelta(days=1)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Return a rule of the kinds that there are, with parts of all kinds."""
    parts = {"FREQ": draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"]))}
    numbers = {"INTERVAL": (1, 60), "BYMONTH": (1, 12), "BYMONTHDAY": (-31, 31), "BYHOUR": (0, 23), "BYMINUTE": (0, 59)}
    for name in draw(st.sets(st.sampled_from([*numbers, "BYDAY", "WKST", "BYSETPOS", "COUNT"]), max_size=4)):
        if name in numbers:
            several = st.lists(st.integers(*numbers[name]), min_size=1, max_size=1 if name == "INTERVAL" else 3)
            parts[name] = ",".join(map(str, draw(several)))
        else:
            parts[name] = draw(
                st.sampled_from(
                    {"BYDAY": ["MO", "MO,TH", "1MO", "-1FR,2SU", "SA,SU"], "WKST": ["SU", "MO"]}.get(
                        name, ["1", "2", "-1"]
                    )
                )
            )
    return ";".join(f"{name}={value}" for name, value in parts.items())


@given(rules(), st.datetimes(SOON, SOON + timedelta(days=1_000)), ZONES)
def test_any_rule_is_words_or_times_that_only_go_on(rule: str, begin: datetime, zone: str) -> None:
    try:
        first = first_occurrence(parse_recurrence(rule, begin=begin, time_zone=zone), NOW)
    except Invalid:
        return
    found = [first, *islice(later_occurrences(first.recurrence), 20)]
    assert first.due_at >= NOW
    for one, other in pairwise(found):
        assert timedelta(0) < other.due_at - one.due_at <= AHEAD_LIMIT
        assert other.recurrence.wall - one.recurrence.wall >= SHORTEST_INTERVAL
        assert next(later_occurrences(one.recurrence)) == other, "it goes on from wherever it stands"


@given(rules(), st.datetimes(SOON + timedelta(seconds=1), SOON + timedelta(days=1_000)))
def test_times_are_those_of_the_library_in_the_years_that_are_meant(rule: str, begin: datetime) -> None:
    begin = begin.replace(microsecond=0)
    try:
        first = first_occurrence(parse_recurrence(rule, begin=begin, time_zone="UTC"), NOW)
    except Invalid:
        return
    found = [first, *islice(later_occurrences(first.recurrence), 10)]
    theirs = islice(rrulestr(rule, dtstart=begin), len(found))
    assert [one.due_at.replace(tzinfo=None) for one in found] == list(theirs)
