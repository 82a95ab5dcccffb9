"""What phrases of time mean, what is settled about them and said, and what is refused in words."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.when import parse_when

NOW = datetime(2026, 11, 21, 8, 28, 5, 250_000, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
"""There it is Saturday, 09:28."""


@pytest.mark.parametrize(
    ("phrase", "due_at"),
    [
        ("in 20 minutes", "2026-11-21T08:48:05.250000"),
        ("In 1 minute.", "2026-11-21T08:29:05.250000"),
        ("in 0 minutes", "2026-11-21T08:28:05.250000"),
        ("in an hour", "2026-11-21T09:28:05.250000"),
        ("in half an hour", "2026-11-21T08:58:05.250000"),
        ("in an hour and a half", "2026-11-21T09:58:05.250000"),
        ("in 1 hour 30 minutes", "2026-11-21T09:58:05.250000"),
        ("in 1h 30min", "2026-11-21T09:58:05.250000"),
        ("in 1.5 hours", "2026-11-21T09:58:05.250000"),
        ("twenty minutes from now", "2026-11-21T08:48:05.250000"),
        ("2026-12-01T09:00+01:00", "2026-12-01T08:00:00"),
        ("2026-12-01 09:00:30Z", "2026-12-01T09:00:30"),
        ("2026-12-01T09:00:00.000Z", "2026-12-01T09:00:00"),
        ("2027-03-28 00:30-05:00", "2027-03-28T05:30:00"),
    ],
)
def test_what_needs_no_time_zone(phrase: str, due_at: str) -> None:
    for zone in (None, BERLIN):
        when = parse_when(phrase, now=NOW, zone=zone)
        assert (when.due_at.replace(tzinfo=None).isoformat(), when.due_at.tzinfo, when.note) == (due_at, UTC, "")


@pytest.mark.parametrize(
    ("phrase", "wall", "note"),
    [
        ("tomorrow at 9", "Sun 2026-11-22 09:00", "9 was taken as 09:00"),
        ("tomorrow at 9am", "Sun 2026-11-22 09:00", ""),
        ("9am tomorrow", "Sun 2026-11-22 09:00", ""),
        ("tomorrow 15:30", "Sun 2026-11-22 15:30", ""),
        ("tomorrow", "Sun 2026-11-22 09:00", "no time was said: taken as 09:00"),
        ("tomorrow morning", "Sun 2026-11-22 09:00", ""),
        ("tomorrow at 8 in the evening", "Sun 2026-11-22 20:00", ""),
        ("tomorrow noon", "Sun 2026-11-22 12:00", ""),
        ("day after tomorrow, 10:00", "Mon 2026-11-23 10:00", ""),
        ("today at 17:00", "Sat 2026-11-21 17:00", ""),
        ("today at midnight", "Sun 2026-11-22 00:00", ""),
        ("tonight", "Sat 2026-11-21 19:00", ""),
        ("tonight at 8", "Sat 2026-11-21 20:00", ""),
        ("friday 15:30", "Fri 2026-11-27 15:30", ""),
        ("next friday 15:30", "Fri 2026-11-27 15:30", ""),
        ("next friday at 3:30pm", "Fri 2026-11-27 15:30", ""),
        ("on mon at 10:00", "Mon 2026-11-23 10:00", ""),
        ("saturday at 10:00", "Sat 2026-11-21 10:00", ""),
        ("saturday at 08:00", "Sat 2026-11-28 08:00", ""),
        ("next saturday at 10:00", "Sat 2026-11-28 10:00", ""),
        ("in 2 days at 9am", "Mon 2026-11-23 09:00", ""),
        ("in 2 days", "Mon 2026-11-23 09:28", "no time was said: taken as 09:28"),
        ("a week from now at 9am", "Sat 2026-11-28 09:00", ""),
        ("at 17:00", "Sat 2026-11-21 17:00", ""),
        ("05:00", "Sun 2026-11-22 05:00", ""),
        ("noon", "Sat 2026-11-21 12:00", ""),
        ("midnight", "Sun 2026-11-22 00:00", ""),
        ("9 in the morning", "Sun 2026-11-22 09:00", ""),
        ("december 24 at 18:00", "Thu 2026-12-24 18:00", ""),
        ("24th of december 2027, 6pm", "Fri 2027-12-24 18:00", ""),
        ("1 jan 10:00", "Fri 2027-01-01 10:00", ""),
        ("2026-12-01", "Tue 2026-12-01 09:00", "no time was said: taken as 09:00"),
        ("2026-12-01 09:00", "Tue 2026-12-01 09:00", ""),
        ("2026-12-01 at 9am", "Tue 2026-12-01 09:00", ""),
    ],
)
def test_what_is_meant_where_the_person_is(phrase: str, wall: str, note: str) -> None:
    when = parse_when(phrase, now=NOW, zone=BERLIN)
    assert (f"{when.due_at.astimezone(BERLIN):%a %Y-%m-%d %H:%M}", when.note) == (wall, note)


@pytest.mark.parametrize(
    ("phrase", "wall"),
    [
        ("at 5", "Sat 17:00"),
        ("at 9", "Sat 21:00"),
        ("at 10", "Sat 10:00"),
        ("at 12", "Sat 12:00"),
        ("9:30", "Sat 09:30"),
    ],
)
def test_a_time_that_may_be_meant_twice_is_the_next_one_and_that_is_said(phrase: str, wall: str) -> None:
    when = parse_when(phrase, now=NOW, zone=BERLIN)
    assert f"{when.due_at.astimezone(BERLIN):%a %H:%M}" == wall
    assert when.note.endswith(f"was taken as {wall[4:]}, the next such time")


def test_a_time_that_does_not_exist_is_moved_forward_and_that_is_said() -> None:
    when = parse_when("2027-03-28 02:30", now=NOW, zone=BERLIN)
    assert when.due_at == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    assert "02:30 does not exist: taken as 03:30" in when.note


def test_a_time_that_is_there_twice_is_the_first() -> None:
    due_at = parse_when("2027-10-31 02:30", now=NOW, zone=BERLIN).due_at
    assert due_at == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("phrase", ["tomorrow at 9", "at 5", "2026-12-01 09:00", "in 2 days", "friday", "tonight"])
def test_without_a_time_zone_the_agent_is_told_to_ask(phrase: str) -> None:
    with pytest.raises(Invalid, match="Ask them where they are"):
        parse_when(phrase, now=NOW, zone=None)


@pytest.mark.parametrize(
    ("phrase", "told"),
    [
        ("today at 08:00", "is past: Saturday 2026-11-21 08:00 Europe/Berlin (2026-11-21T07:00:00Z)"),
        ("2026-11-21T09:28:05+01:00", "It is now Saturday 2026-11-21 09:28:05 Europe/Berlin"),
        ("0001-01-01T00:00+14:00", "beyond all calendars"),
        ("0001-01-02T00:00+14:00", "is past"),
        ("2032-01-01 00:00", "five years"),
        ("9999-12-31T23:59:59-14:00", "beyond all calendars"),
        ("in 9999999 hours", "five years"),
        ("in 9999999 days", "beyond all calendars"),
        ("today", "at what time"),
        *(
            (phrase, "is not understood")
            for phrase in (
                *("", "5", "2027", "may", "9 9", "at 25:00", "at 13pm", "30 february", "yesterday", "3 hours ago"),
                *("in -5 minutes", "in 1.5 days", "in a day and a half", "every day", "tomorrow at 9 at 10", "soon"),
                *("2026-02-30 09:00", "2026-13-01", "morgen um 9", "on the 5th", "tomorrow or friday", "x" * 61),
            )
        ),
    ],
)
def test_what_is_refused_in_words(phrase: str, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_when(phrase, now=NOW, zone=BERLIN)
    assert told in refused.value.public


def test_the_clock_may_run_in_any_zone() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert parse_when("in 1 minute", now=local, zone=None).due_at == NOW + timedelta(minutes=1)
    assert parse_when("at 17:00", now=local, zone=BERLIN).due_at == datetime(2026, 11, 21, 16, tzinfo=UTC)
