"""How much of a reply may be shown while it is being said."""

import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from

from subclaw.core.key_shapes import find_keys
from subclaw.core.showing import showable

KEY = "sk-ant-abcDEF123456abcDEF123456"


def shown(text: str, step: int = 1) -> str:
    """Return the most that is shown of a text that comes in steps."""
    characters = 0
    for end in range(step, len(text) + step, step):
        characters = showable(text[:end], characters)
    return text[:characters]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Hello", ""),
        ("Hello, you", "Hello,"),
        ("Hello you ", "Hello you"),
        ("Wie geht es Ihnen", "Wie geht es"),
        ("今天天气很好", "今天天气很好"),
        ("See https://shop.example/orders/17", "See"),
        ("See https://shop.example/orders/17 there", "See https://shop.example/orders/17"),
        ("A list: [x] done, [ ] open, ", "A list: [x] done, [ ] open,"),
        ("See [the shop](https://shop.example) now ", "See [the shop](https://shop.example) now"),
        ("See [the report](report.pdf) now ", "See"),
        ("See ![chart](chart", "See"),
        ("See [the re", "See"),
        ("Wow! That ", "Wow! That"),
        (f"It is {KEY} here ", "It is"),
        (f"It is {KEY}", "It is"),
        ("Your password is: Summer2031x! so ", "Your password is:"),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1_000])
def test_what_may_become_something_else_is_held_back(text: str, expected: str, step: int) -> None:
    assert shown(text, step) == expected


@given(
    words=lists(sampled_from(["hello", KEY, "token:", "ghp_" + "a1B2" * 9, "[x]", "(y)", "\n", "is"]), max_size=12),
    step=integers(min_value=1, max_value=40),
)
def test_no_piece_of_a_key_is_shown_however_it_comes(words: list[str], step: int) -> None:
    text = " ".join(words)
    seen = shown(text, step)
    assert text.startswith(seen)
    assert not find_keys(seen)
    for key in find_keys(text):
        assert len(seen) <= key.start or key.end <= len(seen), "never half of one"
    assert all(found.start >= len(seen) for found in find_keys(text))


def test_a_long_text_without_spaces_takes_no_time() -> None:
    characters = 0
    for end in range(0, 200_000, 2_000):
        characters = showable("a1" * (end // 2), characters)
    assert characters == 0
