"""Whether a request is sent again, and when."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Unavailable
from subclaw.core.model import ModelReply, Usage
from subclaw.models.faults import Again, Fault
from subclaw.models.patience import Patience, pause_s, persist

PATIENCE = Patience()
AWAY = Unavailable("away")
REPLY = ModelReply(text="here", calls=(), usage=Usage(model="m", input_tokens=1, output_tokens=1))


def fault(again: Again, wait_s: float | None = None) -> Fault:
    return Fault(AWAY, again, wait_s=wait_s)


def test_waits_double_and_end_with_the_attempts() -> None:
    pauses = [pause_s(PATIENCE, fault(Again.SOON), attempts, 0.0) for attempts in (1, 2, 3, 4)]
    assert pauses == [0.5, 1.0, 2.0, None]
    pauses = [pause_s(PATIENCE, fault(Again.LATER), attempts, 0.0) for attempts in (1, 2, 3, 4)]
    assert pauses == [2.0, 4.0, 8.0, None]


def test_nothing_is_sent_again_that_cannot_help() -> None:
    assert pause_s(PATIENCE, fault(Again.NEVER, 1.0), 1, 0.0) is None


def test_what_a_provider_asks_for_is_done_up_to_a_limit() -> None:
    assert pause_s(PATIENCE, fault(Again.LATER, 30.0), 1, 0.0) == 30.0
    assert pause_s(PATIENCE, fault(Again.LATER, 30.1), 1, 0.0) is None


@given(
    st.sampled_from([Again.SOON, Again.LATER]),
    st.none() | st.floats(0, 1e12),
    st.integers(1, 50),
    st.floats(0, 1, exclude_max=True),
)
def test_no_wait_is_shorter_than_asked_for_or_longer_than_bearable(
    again: Again, wait_s: float | None, attempts: int, chance: float
) -> None:
    patience = replace(PATIENCE, attempts=20)
    pause = pause_s(patience, fault(again, wait_s), attempts, chance)
    if pause is None:
        assert attempts >= 20 or (wait_s or 0) > patience.wait_limit_s
    else:
        assert (wait_s or 0) <= pause <= 2 * patience.wait_limit_s


def test_an_attempt_that_hangs_is_ended_and_made_again() -> None:
    made = 0

    async def attempt() -> ModelReply:
        nonlocal made
        made += 1
        if made == 1:
            await asyncio.Event().wait()
        return REPLY

    patience = Patience(attempt_s=0.01, soon_s=0.0)
    assert asyncio.run(persist(attempt, patience, label="m")) is REPLY
    assert made == 2


def test_whatever_an_attempt_raises_is_told_as_ours_after_the_last_one() -> None:
    made = 0

    async def attempt() -> ModelReply:
        nonlocal made
        made += 1
        raise IndexError("the words of a person")

    with pytest.raises(Unavailable) as raised:
        asyncio.run(persist(attempt, Patience(attempts=3, soon_s=0.0), label="m"))
    assert made == 3
    assert "IndexError at test_patience.py" in raised.value.internal
    assert "person" not in raised.value.internal
