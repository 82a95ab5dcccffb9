"""Who may wake a machine: rates, robots, and whom a rate is of; and when a server has stopped answering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.site_health import FAILING_S, FAILURES, Failing, after_visit, has_stopped
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


def test_a_server_has_stopped_after_several_visits_in_a_row_over_some_time() -> None:
    failing: Failing | None = None
    for second in range(FAILURES):
        assert not has_stopped(failing, float(second))
        failing = after_visit(failing, float(second), is_answered=False)
    assert not has_stopped(failing, FAILING_S - 1)
    assert has_stopped(failing, FAILING_S)
    assert after_visit(failing, 5.0, is_answered=True) is None
