"""The agent's own parts that need no machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.machines import wire
from subclaw.statuses import STATUSES
from subclaw_guest.commands import Kept
from subclaw_guest.search import Found, take


@given(st.lists(st.tuples(st.binary(max_size=50), st.booleans()), max_size=60), st.integers(0, 40))
def test_kept_output_is_the_first_and_the_last_half(pieces: list[tuple[bytes, bool]], limit: int) -> None:
    kept, heads = Kept(limit), []
    for piece, is_taken in pieces:
        kept.add(piece)
        if is_taken:
            heads.append(kept.take_head())
    whole = b"".join(piece for piece, _ in pieces)
    tail = limit // 2
    expected = whole if len(whole) <= limit else whole[: limit - tail] + whole[len(whole) - tail :]
    head = b"".join(heads) + kept.take_head()
    assert head == whole[: limit - tail]
    assert head + kept.tail() == expected
    assert kept.total_bytes == len(whole)


def test_kept_output_does_not_grow() -> None:
    kept = Kept(1_000)
    for _ in range(1_000):
        kept.add(bytes(65_536))
        assert len(kept._tail) < 200_000
    assert len(kept.take_head()) == len(kept.tail()) == 500


@pytest.mark.parametrize(
    ("line", "matches", "other"),
    [
        (b"a/b\x007:text: more", [("a/b", 7, "text: more")], b""),
        (b"a\x00x:text", [], b""),
        (b"error: regex", [], b"error: regex\n"),
        (b"", [], b"\n"),
    ],
)
def test_lines_of_a_search(line: bytes, matches: list[tuple[str, int, str]], other: bytes) -> None:
    found = Found()
    take(line, found)
    assert (found.matches, found.other) == (matches, other)


@pytest.mark.parametrize("kind", STATUSES)
def test_errors_cross_the_wire_without_their_internals(kind: type[SubclawError]) -> None:
    error = wire.error_of(wire.error_fields(kind("public words", internal="internal words")))
    assert type(error) is kind
    assert (error.public, error.internal) == ("public words", "public words")


@pytest.mark.parametrize("fields", [None, [], {}, {"error": "SystemExit", "public": "x"}, {"error": "Invalid"}])
def test_answer_that_is_no_error_of_ours(fields: object) -> None:
    assert type(wire.error_of(fields)) is Unavailable
