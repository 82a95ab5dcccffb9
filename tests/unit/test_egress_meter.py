"""The meter: what a machine may use in a minute, in a day, and at once."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.quota import Quota
from subclaw.core.tenant_egress import Traffic
from subclaw.egress.machines.meter import DAY_S, MINUTE_S, Meter, sum_of
from subclaw.egress.refusal import Refusal

_USES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), max_size=30)


class Clock:
    def __init__(self) -> None:
        self.now_s = float(1_000 * DAY_S)

    def __call__(self) -> float:
        return self.now_s


def test_requests_of_a_minute() -> None:
    clock = Clock()
    meter = Meter(Quota(requests_per_minute=2), Traffic(), clock)
    for _ in range(2):
        meter.take_request()
    with pytest.raises(Refusal, match="2 requests a minute") as refused:
        meter.take_request()
    assert refused.value.status == 429
    clock.now_s += MINUTE_S
    meter.take_request()
    assert meter.report().requests == 3


def test_bytes_of_a_day_with_those_of_before() -> None:
    clock = Clock()
    meter = Meter(Quota(bytes_per_day=100), Traffic(sent_bytes=40, received_bytes=50), clock)
    meter.count(5, 5)
    with pytest.raises(Refusal, match="100 bytes a day"):
        meter.count(0, 1)
    with pytest.raises(Refusal, match="100 bytes a day"):
        meter.take_request()
    clock.now_s += DAY_S
    meter.take_request()
    meter.count(100, 0)


def test_connections_and_calls_at_once() -> None:
    meter = Meter(Quota(connections=2), Traffic(), Clock())
    assert meter.begin_connection()
    assert meter.begin_connection()
    assert not meter.begin_connection()
    meter.end_connection()
    assert meter.begin_connection()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(meter.call())
        with pytest.raises(Refusal, match="2 requests under way"), meter.call():
            pass
    with meter.call():
        pass
    assert meter.report().connections == 3


@given(uses=_USES, limit=st.integers(0, 100_000))
def test_it_refuses_from_the_byte_on_that_is_too_many_and_reports_all(uses: list[tuple[int, int]], limit: int) -> None:
    meter, total, reported = Meter(Quota(bytes_per_day=limit), Traffic(), Clock()), 0, Traffic()
    for sent_bytes, received_bytes in uses:
        total += sent_bytes + received_bytes
        try:
            meter.count(sent_bytes, received_bytes)
            refused = False
        except Refusal:
            refused = True
        assert refused == (total > limit)
        reported = sum_of(reported, meter.report())
    assert reported.sent_bytes + reported.received_bytes == total
    assert meter.report() == Traffic()
