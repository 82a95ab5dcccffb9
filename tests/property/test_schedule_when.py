"""When a schedule is due: any input gives an instant within the limits, or words."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.core.schedule import AHEAD_LIMIT, parse_when

NOW = datetime(2026, 11, 21, 9, 28, 5, 250_000, tzinfo=UTC)
OFFSETS = st.integers(min_value=-23 * 60, max_value=23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.none() | st.integers() | st.floats(), st.none() | st.text() | st.datetimes().map(str))
def test_any_input_is_an_instant_within_the_limits_or_words(in_minutes: float | None, at: str | None) -> None:
    try:
        due_at = parse_when(in_minutes=in_minutes, at=at, now=NOW)
    except Invalid as error:
        assert error.public
    else:
        assert NOW <= due_at <= NOW + AHEAD_LIMIT
        assert due_at.tzinfo is UTC


@given(st.datetimes(timezones=OFFSETS))
def test_an_instant_is_taken_as_it_is_or_refused_for_its_distance(instant: datetime) -> None:
    try:
        assert parse_when(in_minutes=None, at=instant.isoformat(), now=NOW) == instant
    except Invalid as error:
        assert ("past" in error.public) == (instant < NOW)
        assert ("five years" in error.public) == (instant > NOW + AHEAD_LIMIT)


@given(st.floats(min_value=0, max_value=AHEAD_LIMIT / timedelta(minutes=1)))
def test_minutes_are_counted_from_now(minutes: float) -> None:
    assert parse_when(in_minutes=minutes, at=None, now=NOW) == NOW + timedelta(minutes=minutes)
