"""Keys and sessions: what is let in, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.console.access import CLOCK_SKEW_S, SESSION_S, hash_key, is_key, is_session, new_key, new_session

NOW_S = 1_800_000_000.0
KEY = new_key()
HASH = hash_key(KEY)


def test_keys_are_long_and_never_the_same() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(KEY) == 43


@given(st.text())
def test_only_the_key_is_the_key(text: str) -> None:
    assert is_key(KEY, HASH)
    assert is_key(text, HASH) == (text == KEY)


@pytest.mark.parametrize(
    ("later_s", "valid"),
    [
        (0, True),
        (SESSION_S - 1, True),
        (SESSION_S, False),
        (-CLOCK_SKEW_S, True),
        (-CLOCK_SKEW_S - 1, False),
        (10 * SESSION_S, False),
    ],
)
def test_a_session_lasts_its_time_on_any_process_that_has_the_hash(later_s: float, valid: bool) -> None:
    assert is_session(new_session(HASH, NOW_S), HASH, NOW_S + later_s) is valid


def test_a_session_of_another_key_is_none() -> None:
    assert not is_session(new_session(hash_key(new_key()), NOW_S), HASH, NOW_S)


def test_two_sessions_differ() -> None:
    assert new_session(HASH, NOW_S) != new_session(HASH, NOW_S)


@given(st.integers(min_value=0, max_value=200), st.characters())
def test_a_session_that_was_changed_is_none(place: int, character: str) -> None:
    session = new_session(HASH, NOW_S)
    place %= len(session)
    changed = session[:place] + character + session[place + 1 :]
    assert is_session(changed, HASH, NOW_S) == (changed == session)


@given(st.text())
def test_anything_else_is_no_session(text: str) -> None:
    assert not is_session(text, HASH, NOW_S)


def test_a_session_cannot_be_made_longer() -> None:
    began, rest = new_session(HASH, NOW_S - SESSION_S).split(".", 1)
    assert not is_session(f"{int(began) + SESSION_S}.{rest}", HASH, NOW_S)
