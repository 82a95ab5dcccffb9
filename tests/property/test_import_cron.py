"""Cron expressions as reminders: the times that their rules give are those at which cron would have run."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.harness.imports.cron import cron_repetitions, interval_repetition

AFTER = datetime(2026, 11, 22, 1, 40)
MINUTES = 3 * 24 * 60


def field(least: int, most: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """Return fields of an expression, each with the numbers that it means."""
    whole = range(least, most + 1)
    number = st.integers(least, most).map(lambda n: (str(n), frozenset([n])))
    span = st.tuples(st.integers(least, most), st.integers(least, most)).map(sorted)
    spans = span.map(lambda ends: (f"{ends[0]}-{ends[1]}", frozenset(range(ends[0], ends[1] + 1))))
    steps = st.integers(1, most).map(lambda step: (f"*/{step}", frozenset(whole[::step])))
    one = st.one_of(number, spans, steps)
    lists = st.lists(one, min_size=1, max_size=3).map(
        lambda ones: (",".join(text for text, _ in ones), frozenset[int]().union(*(values for _, values in ones)))
    )
    return st.one_of(st.just(("*", frozenset(whole))), lists)


@given(minutes=field(0, 59), hours=field(0, 23), dates=field(1, 31), months=field(1, 12), days=field(0, 7))
def test_rules_come_when_cron_does(
    minutes: tuple[str, frozenset[int]],
    hours: tuple[str, frozenset[int]],
    dates: tuple[str, frozenset[int]],
    months: tuple[str, frozenset[int]],
    days: tuple[str, frozenset[int]],
) -> None:
    expression = " ".join(text for text, _ in (minutes, hours, dates, months, days))
    weekdays = {day % 7 for day in days[1]}

    def runs(at: datetime) -> bool:
        by_date, by_day = at.day in dates[1], at.isoweekday() % 7 in weekdays
        either = by_date and by_day if "*" in (dates[0], days[0]) else by_date or by_day
        return at.minute in minutes[1] and at.hour in hours[1] and at.month in months[1] and either

    try:
        found = cron_repetitions(expression, AFTER)
    except Invalid:  # such as on 30 February
        found = ()
    end = AFTER + timedelta(minutes=MINUTES)
    times = [
        time
        for each in found
        for time in islice(rrulestr(each.rule, dtstart=each.first), MINUTES + 1 if each.first <= end else 0)
        if time <= end
    ]
    expected = (AFTER + timedelta(minutes=number) for number in range(1, MINUTES + 1))
    assert sorted(times) == [at for at in expected if runs(at)]
    assert all(runs(each.first) and each.first > AFTER for each in found)


@pytest.mark.parametrize(
    ("expression", "rule", "first"),
    [
        ("0 9 * * 1-5", "FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR;BYHOUR=9;BYMINUTE=0", "2026-11-23T09:00"),
        ("30 */6 1 JAN,jul *", "FREQ=DAILY;BYMONTH=1,7;BYMONTHDAY=1;BYHOUR=0,6,12,18;BYMINUTE=30", "2027-01-01T00:30"),
        ("*/15 * * * *", "FREQ=HOURLY;BYMINUTE=0,15,30,45", "2026-11-22T01:45"),
        ("* * * * *", "FREQ=MINUTELY", "2026-11-22T01:41"),
        ("@weekly", "FREQ=DAILY;BYDAY=SU;BYHOUR=0;BYMINUTE=0", "2026-11-29T00:00"),
        ("0 0 29 2 *", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=0;BYMINUTE=0", "2028-02-29T00:00"),
        ("5/20 8 ? * 7", "FREQ=DAILY;BYDAY=SU;BYHOUR=8;BYMINUTE=5,25,45", "2026-11-22T08:05"),
    ],
)
def test_what_people_write(expression: str, rule: str, first: str) -> None:
    (found,) = cron_repetitions(expression, AFTER)
    assert (found.rule, found.first.isoformat(timespec="minutes")) == (rule, first)


def test_a_date_or_a_day_of_the_week_are_two_rules_that_share_no_day() -> None:
    by_date, by_day = cron_repetitions("0 9 15 * 1", AFTER)
    assert by_date.rule == "FREQ=DAILY;BYMONTHDAY=15;BYHOUR=9;BYMINUTE=0"
    assert "BYDAY=MO" in by_day.rule
    assert "14,16" in by_day.rule


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "0 0 * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"),
        *("*/0 * * * *", "0 0 L * *", "0 0 15W * *", "0 0 * * MON#2", "0 0 30 2 *", "@reboot", "a b c d e"),
        *("5-1 * * * *", "0 0 * * MON-x", "\u0661 * * * *", "99999 * * * *", "1,,2 * * * *", "-1 * * * *"),
    ],
)
def test_what_no_reminder_can_say_is_refused_in_words(expression: str) -> None:
    with pytest.raises(Invalid):
        cron_repetitions(expression, AFTER)


@given(st.text(max_size=40))
def test_whatever_is_written_is_understood_or_refused(expression: str) -> None:
    try:
        found = cron_repetitions(expression, AFTER)
    except Invalid:
        return
    assert found


@given(minutes=st.integers(1, 100_000), back=st.integers(-100_000, 100_000))
def test_intervals_keep_their_beat(minutes: int, back: int) -> None:
    after, step = AFTER.replace(tzinfo=UTC), timedelta(minutes=minutes)
    anchor = after + timedelta(minutes=back)
    found = interval_repetition(step, anchor, after)
    assert found.first > after
    assert (found.first - anchor) % step == timedelta()
    assert found.first == anchor or found.first - step <= after
    second = next(islice(rrulestr(found.rule, dtstart=found.first), 1, None))
    assert second - found.first == step


@pytest.mark.parametrize("step", [timedelta(seconds=90), timedelta(0), -timedelta(minutes=1), timedelta(days=9999)])
def test_intervals_that_no_reminder_can_say(step: timedelta) -> None:
    with pytest.raises(Invalid, match="whole minutes"):
        interval_repetition(step, AFTER, AFTER)
