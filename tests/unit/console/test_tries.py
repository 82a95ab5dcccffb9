"""Wrong keys: a client that tries many has to wait, and what is remembered is bounded."""

from subclaw.console.tries import CLIENTS_LIMIT, LIMIT, PAUSE_S, WrongTries


def tried(times: int, *, at_s: float = 0.0) -> WrongTries:
    tries = WrongTries()
    for _ in range(times):
        tries.count("a", at_s)
    return tries


def test_the_first_ones_are_free_and_the_next_has_to_wait() -> None:
    assert tried(LIMIT - 1).wait_s("a", 0.0) == 0
    assert tried(LIMIT).wait_s("a", 0.0) == PAUSE_S


def test_one_more_after_a_pause_and_all_after_a_long_one() -> None:
    tries = tried(LIMIT)
    assert tries.wait_s("a", PAUSE_S) == 0
    tries.count("a", PAUSE_S)
    assert tries.wait_s("a", PAUSE_S) == PAUSE_S
    assert tries.wait_s("a", PAUSE_S * (LIMIT + 1)) == 0


def test_others_need_not_wait() -> None:
    assert tried(100).wait_s("b", 0.0) == 0


def test_the_client_that_tried_longest_ago_is_forgotten_first() -> None:
    tries = tried(LIMIT)
    for number in range(CLIENTS_LIMIT - 1):
        tries.count(f"client {number}", 0.0)
    assert tries.wait_s("a", 0.0) > 0
    tries.count("one more", 0.0)
    assert tries.wait_s("a", 0.0) == 0
