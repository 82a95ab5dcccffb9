"""When a schedule is due: any input gives an instant within the limits, or words."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.core.schedule import AHEAD_LIMIT, parse_when

NOW = datetime(2026, 11, 21, 9, 28, 5, 250_000, tzinfo=UTC)
SOON = NOW.replace(tzinfo=None)
OFFSETS = st.integers(min_value=-23 * 60, max_value=23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.none() | st.integers() | st.floats(), st.none() | st.text() | st.datetimes().map(str))
def test_any_input_is_an_instant_within_the_limits_or_words(in_minutes: float | None, at: str | None) -> None:
    outcome = instant_or_words(in_minutes, at)
    assert outcome
    if isinstance(outcome, datetime):
        assert NOW <= outcome <= NOW + AHEAD_LIMIT
        assert outcome.tzinfo is UTC


@given(st.datetimes(timezones=OFFSETS) | st.datetimes(SOON, SOON + 2 * AHEAD_LIMIT, timezones=OFFSETS))
def test_an_instant_is_taken_as_it_is_or_refused_for_its_distance(instant: datetime) -> None:
    outcome = instant_or_words(None, instant.isoformat())
    if instant < NOW:
        assert "past" in str(outcome)
    elif instant > NOW + AHEAD_LIMIT:
        assert "five years" in str(outcome)
    else:
        assert outcome == instant


def instant_or_words(in_minutes: float | None, at: str | None) -> datetime | str:
    try:
        return parse_when(in_minutes=in_minutes, at=at, now=NOW)
    except Invalid as error:
        return error.public


@given(st.floats(min_value=0, max_value=AHEAD_LIMIT / timedelta(minutes=1)))
def test_minutes_are_counted_from_now(minutes: float) -> None:
    assert parse_when(in_minutes=minutes, at=None, now=NOW) == NOW + timedelta(minutes=minutes)
