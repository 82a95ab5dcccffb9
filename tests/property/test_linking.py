"""Codes and control words, whatever people write."""

import random
import string

from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.consent import Said
from subclaw.core.control import CodeSaid, read_control
from subclaw.core.linking import ALPHABET, CODE_CHARACTERS, code_hash, new_code, read_code, show_code

SEEDS = st.integers(0, 2**64)
SPACES = st.text(alphabet=" -\t\u2013", max_size=2)


@given(SEEDS, st.lists(SPACES, min_size=9, max_size=9), st.booleans())
def test_a_code_survives_how_it_is_typed(seed: int, spaces: list[str], lower: bool) -> None:
    code = new_code(random.Random(seed))
    assert (len(code), set(code) <= set(ALPHABET)) == (CODE_CHARACTERS, True)
    typed = "".join(space + character for space, character in zip(spaces, code, strict=False)) + spaces[-1]
    assert read_code(typed.lower() if lower else typed) == code
    assert read_control("web", show_code(code)) == CodeSaid(code=code)


@given(SEEDS, SEEDS)
def test_different_codes_have_different_hashes(one: int, other: int) -> None:
    first, second = new_code(random.Random(one)), new_code(random.Random(other))
    assert (code_hash(first) == code_hash(second)) == (first == second)


@given(st.text())
def test_whatever_is_a_code_is_made_of_its_characters(text: str) -> None:
    if code := read_code(text):
        assert read_code(code) == code
        assert read_code(show_code(code)) == code


@given(st.text(alphabet=string.ascii_letters + " .,'", min_size=1))
def test_no_sentence_with_a_vowel_is_a_code(text: str) -> None:
    if set(text.lower()) & set("aeiouy"):
        assert read_code(text) is None


@given(st.text(), st.sampled_from(["sms", "whatsapp", "web", "slack"]))
def test_a_message_is_read_the_same_way_again(text: str, channel: str) -> None:
    found = read_control(channel, text)
    assert found == read_control(channel, f" {text}\n")
    assert not isinstance(found, Said) or channel in ("sms", "whatsapp")
