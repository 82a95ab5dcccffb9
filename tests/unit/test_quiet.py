"""Quiet hours, on the wall where the person is."""

from datetime import UTC, datetime, time

import pytest

from subclaw.agent_file import parse_agent
from subclaw.core.errors import Invalid
from subclaw.core.intake_limits import IntakeLimits
from subclaw.core.quiet import QuietHours, quiet_until

NIGHT = QuietHours(begins=time(22), ends=time(7))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "zone", "until"),
    [
        ("2026-05-01T21:59:59", "UTC", None),
        ("2026-05-01T22:00:00", "UTC", "2026-05-02T07:00:00"),
        ("2026-05-02T03:00:00", "UTC", "2026-05-02T07:00:00"),
        ("2026-05-02T07:00:00", "UTC", None),
        ("2026-05-02T05:30:00", "Europe/Berlin", None),
        ("2026-05-01T20:30:00", "Europe/Berlin", "2026-05-02T05:00:00"),
        ("2026-05-02T12:00:00", "America/Los_Angeles", "2026-05-02T14:00:00"),
        ("2026-05-02T03:00:00", "Nowhere/Atall", "2026-05-02T07:00:00"),
    ],
)
def test_it_is_quiet_where_the_person_is(now: str, zone: str, until: str | None) -> None:
    assert quiet_until(at(now), NIGHT, zone) == (at(until) if until else None)


def test_the_operators_zone_counts_while_the_persons_is_unknown() -> None:
    hours = QuietHours(begins=time(22), ends=time(7), time_zone="Asia/Tokyo")
    assert quiet_until(at("2026-05-01T14:00:00"), hours, "") == at("2026-05-01T22:00:00")
    assert quiet_until(at("2026-05-01T14:00:00"), hours, "UTC") is None


def test_hours_within_a_day() -> None:
    siesta = QuietHours(begins=time(13), ends=time(15))
    assert quiet_until(at("2026-05-01T13:30:00"), siesta, "UTC") == at("2026-05-01T15:00:00")
    assert quiet_until(at("2026-05-01T23:30:00"), siesta, "UTC") is None


def test_the_end_is_never_past_where_clocks_go_back() -> None:
    hours = QuietHours(begins=time(1), ends=time(2, 30))
    second = at("2026-10-25T01:10:00")  # 02:10 in Berlin, for the second time
    until = quiet_until(second, hours, "Europe/Berlin")
    assert until == at("2026-10-25T01:30:00")


def test_without_hours_it_is_never_quiet() -> None:
    assert quiet_until(at("2026-05-01T03:00:00"), None, "UTC") is None


def test_the_agents_file_sets_hours_and_limits() -> None:
    found = parse_agent(
        '[quiet_hours]\nbegins = "22:00"\nends = "07:30"\ntime_zone = "Europe/Berlin"\n[limits]\nburst = 3\n'
    )
    assert found.quiet_hours == QuietHours(begins=time(22), ends=time(7, 30), time_zone="Europe/Berlin")
    assert found.limits == IntakeLimits(burst=3)
    assert parse_agent("").quiet_hours is None


@pytest.mark.parametrize(
    "text",
    [
        'begins = "22:00"\nends = "24:00"',
        'begins = "22:00"\nends = "22:00"',
        'begins = "22:00"\nends = "07:00"\ntime_zone = "CEST"',
        'begins = "22:00"',
    ],
)
def test_hours_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_agent(f"[quiet_hours]\n{text}\n")
