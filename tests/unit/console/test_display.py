"""Figures, states and times as they are read at a glance."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from subclaw.console.display import EVENTS, ago, clock, count, event_name, exact, lasting, state_name
from subclaw.store import events

NOW = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3_600, "1 h"), (200_000, "2 d")]
)
def test_a_length_of_time_has_one_unit(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.5, "just now"), (-0.5, "just now"), (90, "1 min ago"), (-8, "in 8 s")]
)
def test_a_time_is_told_from_now(seconds: float, said: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_a_time_of_another_day_has_its_date() -> None:
    elsewhere = timezone(timedelta(hours=5))
    assert clock(NOW.astimezone(elsewhere), NOW) == "00:30:00"
    assert clock(NOW - timedelta(hours=1), NOW) == "2026-02-28 23:30:00"
    assert exact(NOW.astimezone(elsewhere)) == "2026-03-01 00:30:00 UTC"


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (9_999, "9,999"), (10_000, "10.0k"), (1_234_567, "1.2M"), (7 * 10**9, "7.0G")],
)
def test_a_number_is_short(number: int, said: str) -> None:
    assert count(number) == said


def test_every_event_that_is_stored_has_a_name() -> None:
    assert set(events._TYPES) <= set(EVENTS)


def test_what_is_not_known_is_shown_as_it_is() -> None:
    assert (event_name("new.type"), state_name("odd")) == ("new.type", "odd")
