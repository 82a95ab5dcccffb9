"""When a reply is tried again, when it is believed lost, and what a late one says."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from subclaw.core.channel import NotSeen, NotTold, Trouble
from subclaw.core.delivery import AskAgain, DeliveryTimes, LeaveUnknown, SendAgain, judge, retry_delay_s, wording

TIMES = DeliveryTimes()
WRITTEN = datetime(2026, 3, 5, 14, 5, 30, tzinfo=UTC)


def test_waits_grow_by_what_the_trouble_is() -> None:
    def delays(trouble: Trouble) -> list[float | None]:
        return [retry_delay_s(trouble, attempt, None) for attempt in (1, 2, 3, 20, 10_000)]

    assert delays(Trouble.NETWORK) == [1, 2, 4, 600, 600]
    assert delays(Trouble.BUSY) == [2, 4, 8, 600, 600]
    assert delays(Trouble.ACCOUNT) == [60, 120, 240, 1_800, 1_800]
    assert delays(Trouble.REFUSED) == [None] * 5


def test_a_provider_that_names_a_time_is_given_it_within_bounds() -> None:
    assert retry_delay_s(Trouble.BUSY, 1, 17.0) == 17
    assert retry_delay_s(Trouble.BUSY, 6, 17.0) == 64, "it asked for too little before"
    assert retry_delay_s(Trouble.BUSY, 1, 1e9) == 3_600


@pytest.mark.parametrize(
    ("age", "overtaken", "words"),
    [
        (timedelta(minutes=59), False, "hello"),
        (timedelta(seconds=-5), False, "hello"),
        (timedelta(minutes=60), False, "[From 14:05 UTC, delayed] hello"),
        (timedelta(minutes=1), True, "[From 14:05 UTC, delayed] hello"),
        (timedelta(hours=10), False, "[From 5 March, 14:05 UTC, delayed] hello"),
    ],
)
def test_a_late_reply_says_when_it_was_written(age: timedelta, overtaken: bool, words: str) -> None:
    for zone in (UTC, timezone(timedelta(hours=-9))):
        now = (WRITTEN + age).astimezone(zone)
        assert wording("hello", written_at=WRITTEN, now=now, overtaken=overtaken, times=TIMES) == words


def test_an_absence_is_believed_only_after_a_while() -> None:
    for age_s, next_s in ((0.0, 2.0), (2.1, 10.0), (10.0, 30.0)):
        verdict = judge(NotSeen(), age_s=age_s, expired=False, times=TIMES)
        assert isinstance(verdict, AskAgain)
        assert verdict.delay_s == pytest.approx(next_s - age_s)
    assert judge(NotSeen(), age_s=30.0, expired=False, times=TIMES) == SendAgain()
    assert judge(NotSeen(), age_s=90_000.0, expired=True, times=TIMES) == SendAgain(), (
        "sending says that it is too late"
    )


def test_a_provider_that_does_not_answer_is_asked_less_and_less_and_then_no_more() -> None:
    asked, age_s = 0, 0.0
    while age_s < 86_400:
        verdict = judge(NotTold(detail="down"), age_s=age_s, expired=False, times=TIMES)
        assert isinstance(verdict, AskAgain)
        assert TIMES.untold_s <= verdict.delay_s <= 900
        age_s += verdict.delay_s
        asked += 1
    assert asked < 150
    assert judge(NotTold(detail="down"), age_s=age_s, expired=True, times=TIMES) == LeaveUnknown()
