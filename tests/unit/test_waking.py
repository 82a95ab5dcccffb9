"""Who may wake a machine: rates, robots, and whom a rate is of; and when a server has stopped answering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.site_health import (
    ERRING_S,
    ERRORS,
    FAILING_S,
    FAILURES,
    Failing,
    Outcome,
    Trouble,
    after_visit,
    outcome_of,
    trouble_of,
)
from subclaw.core.waking import Bucket, is_robot, taken, visitor_of


def test_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket: Bucket | None = None
    for _ in range(3):
        bucket = taken(bucket, 10.0, per_s=0.5, most=3)
        assert bucket is not None
    assert taken(bucket, 10.0, per_s=0.5, most=3) is None
    assert taken(bucket, 11.9, per_s=0.5, most=3) is None
    assert taken(bucket, 12.0, per_s=0.5, most=3) is not None
    full = taken(bucket, 10_000.0, per_s=0.5, most=3)
    assert full is not None
    assert full.level == 2


@given(st.lists(st.floats(0, 10), max_size=100))
def test_bucket_never_gives_more_than_it_may(pauses: list[float]) -> None:
    now_s, given, bucket = 0.0, 0, None
    for pause_s in pauses:
        now_s += pause_s
        if after := taken(bucket, now_s, per_s=2.0, most=5):
            bucket, given = after, given + 1
    assert given <= 5 + 2.0 * now_s + 1e-6


@pytest.mark.parametrize(
    ("user_agent", "is_one"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True),
        ("WhatsApp/2.23.20.0", True),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", False),
        ("", False),
    ],
)
def test_robots(user_agent: str, is_one: bool) -> None:
    assert is_robot(user_agent) is is_one


@pytest.mark.parametrize(
    ("said", "visitor"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_whom_a_rate_is_of(said: str, visitor: str) -> None:
    assert visitor_of(said) == visitor


def failing_after(*outcomes: Outcome) -> Failing | None:
    """Return how a server fails after a visit a second."""
    failing: Failing | None = None
    for second, outcome in enumerate(outcomes):
        failing = after_visit(failing, float(second), outcome)
    return failing


def test_a_server_has_stopped_after_several_visits_in_a_row_over_some_time() -> None:
    silent = [Outcome.SILENT] * FAILURES
    assert trouble_of(failing_after(*silent[1:]), FAILING_S, is_new=True) is None
    for is_new in (True, False):
        assert trouble_of(failing_after(*silent), FAILING_S - 1, is_new=is_new) is None
        assert trouble_of(failing_after(*silent), FAILING_S, is_new=is_new) is Trouble.STOPPED
    for said in (Outcome.ERROR, Outcome.SERVED):
        assert trouble_of(failing_after(*silent, said), FAILING_S, is_new=False) is None
    assert trouble_of(failing_after(Outcome.ERROR, *silent), FAILING_S, is_new=False) is None, "silent for too short"
    assert trouble_of(failing_after(Outcome.ERROR, *silent), FAILING_S + 1, is_new=False) is Trouble.STOPPED


def test_errors_are_a_server_s_own_business_unless_there_is_nothing_else() -> None:
    errors = [Outcome.ERROR] * ERRORS
    first = failing_after(*errors[:FAILURES])
    assert trouble_of(first, FAILING_S - 1, is_new=True) is None
    assert trouble_of(first, FAILING_S, is_new=True) is Trouble.NEVER_SERVED
    assert trouble_of(first, 10 * ERRING_S, is_new=False) is None
    mixed = failing_after(*errors[1:], Outcome.SILENT)
    for failing in (failing_after(*errors), mixed):
        assert trouble_of(failing, ERRING_S - 1, is_new=False) is None
        assert trouble_of(failing, ERRING_S, is_new=False) is Trouble.ERRORS
    assert failing_after(*errors, Outcome.SERVED) is None


def test_what_became_of_a_visit_is_known_by_its_status() -> None:
    assert [outcome_of(status) for status in (None, 101, 200, 404, 499)] == [Outcome.SILENT] + [Outcome.SERVED] * 4
    assert {outcome_of(status) for status in (500, 503, 599)} == {Outcome.ERROR}
