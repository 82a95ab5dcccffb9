"""When a schedule is due, in what forms it may be said, and what a model is told."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.schedule import Schedule, ScheduleMode, parse_when
from subclaw.harness.system import system_text
from subclaw.models.demo.plays import choose_play
from subclaw.tools.schedule import describe_schedules

NOW = datetime(2026, 11, 21, 9, 28, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("in_minutes", "at", "due_at"),
    [
        (1, None, "2026-11-21T09:29:05+00:00"),
        (0, None, "2026-11-21T09:28:05+00:00"),
        (0.5, None, "2026-11-21T09:28:35+00:00"),
        (None, "2026-11-21T10:00Z", "2026-11-21T10:00:00+00:00"),
        (None, "2026-11-21T11:00:00+01:00", "2026-11-21T10:00:00+00:00"),
        (None, "2027-03-28 00:30-05:00", "2027-03-28T05:30:00+00:00"),
    ],
)
def test_ways_to_say_when(in_minutes: float | None, at: str | None, due_at: str) -> None:
    assert parse_when(in_minutes=in_minutes, at=at, now=NOW).isoformat() == due_at


@pytest.mark.parametrize(
    ("in_minutes", "at", "told"),
    [
        (None, None, "either in_minutes or at"),
        (1, "2026-11-21T10:00Z", "either in_minutes or at"),
        (-1, None, "past"),
        (float("nan"), None, "must be a number"),
        (float("inf"), None, "five years"),
        (10**400, None, "five years"),
        (-(10**400), None, "past"),
        (None, "2026-11-21T09:28:04Z", "past. It is now Saturday 2026-11-21T09:28:05Z"),
        (None, "2025-11-22T09:00+01:00", "past"),
        (None, "0001-01-01T00:00+14:00", "past"),
        (None, "2032-01-01T00:00Z", "five years"),
        (None, "9999-12-31T23:59:59-14:00", "five years"),
        (None, "2026-11-22T09:00", "with an offset"),
        (None, "2026-11-22", "with an offset"),
        (None, "tomorrow at nine", "ISO 8601"),
        (None, "", "ISO 8601"),
    ],
)
def test_ways_that_are_refused_in_words(in_minutes: float | None, at: str | None, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_when(in_minutes=in_minutes, at=at, now=NOW)
    assert told in refused.value.public


def test_the_clock_may_run_in_any_zone() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert parse_when(in_minutes=1, at=None, now=local).isoformat() == "2026-11-21T09:29:05+00:00"


def test_a_list_tells_the_time_and_cuts_long_texts() -> None:
    one = Schedule(id=7, due_at=NOW + timedelta(days=1), mode=ScheduleMode.AGENT_TURN, text="a\nb " + "c" * 2000)
    told = describe_schedules([one], NOW).splitlines()
    assert told[0] == "It is now Saturday 2026-11-21T09:28:05Z."
    assert told[1].startswith("7: Sunday 2026-11-22T09:28:05Z, agent_turn: a b ccc")
    assert len(told[1]) < 130
    assert describe_schedules([], NOW).endswith("\nNothing waits.")


def test_the_system_text_changes_with_the_day_and_not_with_the_minute() -> None:
    text = system_text(name="calm-otter", url="http://calm-otter.localhost", today=NOW.date())
    assert "Today is Saturday 2026-11-21" in text
    assert "{" not in text


@pytest.mark.parametrize(
    ("wish", "minutes", "text", "closing"),
    [
        ("Remind me in 1 minute to Build a Page", 1, "Reminder: Build a Page", "I will remind you in 1 minute."),
        ("please remind me in 2 hours call mum", 120, "Reminder: call mum", "I will remind you in 2 hours."),
        ("remind me in a minute that it rains", 1, "Reminder: it rains", "I will remind you in 1 minute."),
    ],
)
def test_the_demo_plays_a_reminder(wish: str, minutes: int, text: str, closing: str) -> None:
    play = choose_play(wish)
    assert play.closing == closing
    assert [(act.tool, act.arguments) for act in play.acts] == [
        ("schedule_notification", {"in_minutes": minutes, "text": text})
    ]
