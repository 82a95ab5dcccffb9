"""What becomes of a message's text before it is stored."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.core.message import TEXT_LIMIT_CHARACTERS, clean_text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("hello", "hello"),
        ("  hello\r\nyou\r ", "hello\nyou"),
        ("family 👨‍👩‍👧 and 🇳🇱", "family 👨‍👩‍👧 and 🇳🇱"),
        ("שלום עולם", "שלום עולם"),
        ("nul \0 bell \a esc \x1b[31m", "nul  bell  esc [31m"),
        ("cafe\u0301", "café"),
        ("lone \ud800 surrogate", "lone  surrogate"),
    ],
)
def test_clean_text(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize("raw", ["", "  \n ", "\0\0", "\x1b"])
def test_nothing_is_refused_in_words(raw: str) -> None:
    with pytest.raises(Invalid, match="empty"):
        clean_text(raw)


@pytest.mark.parametrize("length", [TEXT_LIMIT_CHARACTERS + 1, 1_000_000, 10_000_000])
def test_too_much_is_refused_in_words(length: int) -> None:
    with pytest.raises(Invalid, match=f"{TEXT_LIMIT_CHARACTERS:,}"):
        clean_text("a" * length)


def test_all_controls_but_line_feed_and_tab_are_taken_out() -> None:
    every = (chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs"))
    controls = "".join(character for character in every if character not in "\n\t\r")
    assert clean_text(f"a\n\t{controls}b") == "a\n\tb"


@given(st.text())
def test_cleaning_twice_changes_nothing_more(raw: str) -> None:
    try:
        once = clean_text(raw)
    except Invalid:
        return
    assert clean_text(once) == once
    once.encode("utf-8")
    assert "\0" not in once
