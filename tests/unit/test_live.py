"""What a worker tells of replies while they are being said, as the texts of notifications."""

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, builds, integers, lists, text

from subclaw.core.errors import Invalid
from subclaw.core.live import (
    PAYLOAD_LIMIT_BYTES,
    PLACE_PREFIX,
    Listening,
    Words,
    pack_listening,
    pack_words,
    pieces,
    read_listening,
    read_words,
)

PLACE = PLACE_PREFIX + "0123456789abcdef"
MANY = builds(
    Words,
    session=text("abc", min_size=1, max_size=5).map(lambda name: f"ses_{name}"),
    turn=integers(0, 2**40),
    attempt=integers(0, 2**48),
    offset=integers(0, 10**6),
    text=text(max_size=4_000).map(lambda words: words.encode("utf-8", "replace").decode()),
    after_calls=booleans(),
)


@given(lists(MANY, max_size=6))
def test_words_arrive_as_they_were_said_in_payloads_that_are_taken(said: list[Words]) -> None:
    payloads = list(pack_words(piece for one in said for piece in pieces(one)))
    assert all(len(payload.encode()) <= PAYLOAD_LIMIT_BYTES for payload in payloads)
    heard = [words for payload in payloads for words in read_words(payload)]
    assert [words for one in said for words in pieces(one)] == heard
    assert "".join(one.text for one in said) == "".join(words.text for words in heard)


def test_the_worst_text_fits() -> None:
    worst = Words(session="ses_" + "x" * 32, turn=2**62, attempt=2**62, offset=2**62, text="\x01" * 5_000)
    payloads = list(pack_words(pieces(worst)))
    assert len(payloads) == 5
    assert max(len(payload.encode()) for payload in payloads) <= PAYLOAD_LIMIT_BYTES


@pytest.mark.parametrize("count", [0, 1, 700])
def test_who_listens_arrives(count: int) -> None:
    sessions = tuple(f"ses_{number:032}" for number in range(count))
    listening = Listening(place=PLACE, on=True, sessions=sessions)
    payloads = list(pack_listening(listening))
    assert all(len(payload.encode()) <= PAYLOAD_LIMIT_BYTES for payload in payloads)
    assert [session for payload in payloads for session in read_listening(payload).sessions] == list(sessions)


@pytest.mark.parametrize("payload", ["", "[", "1", '["a", 1, 2, 3, "text"]', '["a", "b", 2, 3, "text", true]'])
def test_what_are_no_words_is_refused(payload: str) -> None:
    if payload == "":
        assert read_words(payload) == ()
        return
    with pytest.raises(Invalid):
        read_words(payload)


@pytest.mark.parametrize(
    "payload", ["", "+", f"* {PLACE} ses_{'a' * 32}", f"+ subclaw_wake ses_{'a' * 32}", f"+ {PLACE} a"]
)
def test_who_is_nobody_is_refused(payload: str) -> None:
    with pytest.raises(Invalid):
        read_listening(payload)
