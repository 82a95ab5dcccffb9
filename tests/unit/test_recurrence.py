"""What comes again: which rules there are, by whose clock, how often, and when it ends."""

import time
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.recurrence import (
    SHORTEST_INTERVAL,
    Occurrence,
    Recurrence,
    first_occurrence,
    later_occurrences,
    parse_recurrence,
)

NOW = datetime(2026, 11, 21, 8, 28, 5, tzinfo=UTC)
BEGIN = datetime(2026, 11, 21, 11, 0)
"""A Saturday."""


def start(rule: str, begin: datetime = BEGIN, zone: str = "Europe/Berlin") -> Occurrence:
    return first_occurrence(parse_recurrence(rule, begin=begin, time_zone=zone), NOW)


def walls(rule: str, count: int = 5) -> list[str]:
    """Return the first times of a rule, as a clock in Berlin shows them."""
    first = start(rule)
    found = [first, *islice(later_occurrences(first.recurrence), count - 1)]
    return [f"{one.due_at.astimezone(ZoneInfo('Europe/Berlin')):%a %m-%d %H:%M}" for one in found]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=DAILY", ["Sat 11-21 11:00", "Sun 11-22 11:00", "Mon 11-23 11:00"]),
        ("rrule:freq=daily;interval=2", ["Sat 11-21 11:00", "Mon 11-23 11:00", "Wed 11-25 11:00"]),
        ("FREQ=WEEKLY;BYDAY=MO,TH", ["Mon 11-23 11:00", "Thu 11-26 11:00", "Mon 11-30 11:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;WKST=MO", ["Mon 11-30 11:00", "Fri 12-04 11:00", "Mon 12-14 11:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", ["Thu 12-31 11:00", "Sun 01-31 11:00", "Wed 03-31 11:00"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["Mon 11-30 11:00", "Thu 12-31 11:00", "Fri 01-29 11:00"]),
        ("FREQ=MONTHLY;BYDAY=1MO", ["Mon 12-07 11:00", "Mon 01-04 11:00", "Mon 02-01 11:00"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", ["Tue 02-29 11:00", "Sun 02-29 11:00", "Fri 02-29 11:00"]),
        ("FREQ=DAILY;BYHOUR=9,17;BYMINUTE=30", ["Sat 11-21 17:30", "Sun 11-22 09:30", "Sun 11-22 17:30"]),
        ("FREQ=HOURLY;INTERVAL=6", ["Sat 11-21 11:00", "Sat 11-21 17:00", "Sat 11-21 23:00"]),
        ("FREQ=MINUTELY;INTERVAL=5", ["Sat 11-21 11:00", "Sat 11-21 11:05", "Sat 11-21 11:10"]),
        ("FREQ=DAILY;COUNT=2", ["Sat 11-21 11:00", "Sun 11-22 11:00"]),
        ("FREQ=DAILY;COUNT=1", ["Sat 11-21 11:00"]),
        ("FREQ=DAILY;UNTIL=20261122", ["Sat 11-21 11:00", "Sun 11-22 11:00"]),
        ("FREQ=DAILY;UNTIL=20261122T110000", ["Sat 11-21 11:00", "Sun 11-22 11:00"]),
        ("FREQ=DAILY;UNTIL=20261122T095959Z", ["Sat 11-21 11:00"]),
        ("FREQ=YEARLY;INTERVAL=10", ["Sat 11-21 11:00"]),
    ],
)
def test_rules(rule: str, expected: list[str]) -> None:
    assert walls(rule, 3) == expected


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "not understood"),
        ("every day", "not understood"),
        ("FREQ=SECONDLY", "FREQ is one of"),
        ("BYDAY=MO", "FREQ is one of"),
        ("FREQ=DAILY;FREQ=WEEKLY", "not understood"),
        ("FREQ=DAILY;BYSECOND=1", "not understood"),
        ("FREQ=DAILY;BYEASTER=1", "not understood"),
        ("FREQ=DAILY;DTSTART=20200101", "not understood"),
        ("FREQ=DAILY\nDTSTART:20200101", "FREQ is one of"),
        ("FREQ=DAILY;", "not understood"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is a whole number"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL is a whole number"),
        ("FREQ=DAILY;COUNT=0", "COUNT is a whole number"),
        ("FREQ=DAILY;COUNT=999999999999", "COUNT is a whole number"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20270101", "not both"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL is a date"),
        ("FREQ=DAILY;UNTIL=20200101", "no time which is still to come"),
        ("FREQ=DAILY;BYHOUR=25", "no rule"),
        ("FREQ=WEEKLY;BYDAY=XX", "no rule"),
        ("FREQ=MONTHLY;BYDAY=99MO", "no rule"),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS goes with"),
        ("FREQ=MINUTELY", "more often than every 5 minutes"),
        ("FREQ=MINUTELY;INTERVAL=4", "more often"),
        ("FREQ=HOURLY;BYMINUTE=0,3", "more often"),
        ("FREQ=DAILY;BYHOUR=23,0;BYMINUTE=0,58", "more often"),
    ],
)
def test_what_is_refused_in_words(rule: str, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        start(rule)
    assert told in refused.value.public


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MINUTELY;INTERVAL=5;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=WEEKLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=HOURLY;INTERVAL=168;BYDAY=MO",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=300",
    ],
)
def test_a_rule_without_any_time_is_found_out_soon(rule: str) -> None:
    began_s = time.process_time()
    with pytest.raises(Invalid, match="no time which is still to come"):
        start(rule)
    assert time.process_time() - began_s < 0.5, "the library alone looks for seconds"


def test_times_that_were_gone_through_count() -> None:
    first = start("FREQ=DAILY;COUNT=3")
    assert first.recurrence.left == 3
    second, third = later_occurrences(first.recurrence)
    assert (second.recurrence.left, third.recurrence.left) == (2, 1)
    assert list(later_occurrences(third.recurrence)) == []


def test_it_goes_on_from_wherever_it_stands() -> None:
    first = start("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH,SU;WKST=MO")
    at_once = list(islice(later_occurrences(first.recurrence), 40))
    one, step_by_step = first, []
    for _ in range(40):
        one = next(later_occurrences(one.recurrence))
        step_by_step.append(one)
    assert step_by_step == at_once


YEAR = date(2026, 11, 21)


def naive_instants(zone: ZoneInfo) -> list[datetime]:
    """Return the instants of 02:30 each day for a year, found by looking at every five minutes of it."""
    found: dict[date, datetime] = {}
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    while moment < datetime(2027, 11, 24, tzinfo=UTC):
        local = moment.astimezone(zone)
        if (local.hour, local.minute) >= (2, 30):
            found.setdefault(local.date(), moment)
        moment += timedelta(minutes=5)
    return [found[YEAR + timedelta(days=days)] for days in range(1, 366)]


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_daily_at_half_past_two_for_a_year(name: str) -> None:
    """The first moment of each day that a clock shows as 02:30 or later; but what is skipped moves by the whole gap."""
    zone = ZoneInfo(name)
    first = start("FREQ=DAILY", begin=datetime(2026, 11, 22, 2, 30), zone=name)
    due = [first.due_at, *(one.due_at for one in islice(later_occurrences(first.recurrence), 364))]
    expected = naive_instants(zone)
    moved = {one for one in expected if one.astimezone(zone).time().strftime("%H:%M") != "02:30"}
    assert len(set(due)) == len(due) == 365
    assert [one for one, other in zip(due, expected, strict=True) if one != other and other not in moved] == []
    for one, other in zip(due, expected, strict=True):
        if other in moved:
            before, after = (other - timedelta(minutes=5)).astimezone(zone), other.astimezone(zone)
            gap = (after.utcoffset() or timedelta()) - (before.utcoffset() or timedelta())
            shown = one.astimezone(zone).replace(tzinfo=None)
            assert shown == datetime.combine(after.date(), datetime(1, 1, 1, 2, 30).time()) + gap
    assert len(moved) == (0 if name == "Australia/Lord_Howe" else 1), "there it is 02:00 that becomes 02:30"


def test_two_times_that_fall_on_one_instant_happen_once() -> None:
    """On 28 March clocks go from 02:00 to 03:00: half past two is half past three then."""
    first = start("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=30", begin=datetime(2027, 3, 27, 4, 0))
    due = [first, *islice(later_occurrences(first.recurrence), 3)]
    assert [f"{one.due_at:%d %H:%M}" for one in due] == ["28 01:30", "29 00:30", "29 01:30", "30 00:30"]


def test_what_cannot_be_read_any_more_is_said() -> None:
    broken = Recurrence(rule="FREQ=NEVER", time_zone="Europe/Berlin", wall=BEGIN)
    nowhere = Recurrence(rule="FREQ=DAILY", time_zone="Europe/Atlantis", wall=BEGIN)
    for recurrence in (broken, nowhere):
        with pytest.raises(Invalid):
            next(later_occurrences(recurrence))


def test_the_shortest_interval() -> None:
    first = start("FREQ=MINUTELY;INTERVAL=5")
    assert next(later_occurrences(first.recurrence)).due_at - first.due_at == SHORTEST_INTERVAL
