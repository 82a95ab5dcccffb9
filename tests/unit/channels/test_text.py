"""Cutting replies into what a channel takes."""

from subclaw.channels.text import size_units, split_text


def test_a_short_text_stays_whole() -> None:
    assert split_text(" Your site is live. ", 100) == ["Your site is live."]
    assert split_text(" \n ", 100) == []


def test_paragraphs_are_liked_best() -> None:
    text = f"{'a' * 60}\n\n{'b ' * 30}\n\n{'c' * 60}"
    assert split_text(text, 125) == [f"{'a' * 60}\n\n{('b ' * 30).strip()}", "c" * 60]


def test_then_lines_then_sentences_then_words() -> None:
    assert split_text("one two three\nfour five six", 20) == ["one two three", "four five six"]
    assert split_text("One two three. Four five six", 20) == ["One two three.", "Four five six"]
    assert split_text("one two three four five six", 20) == ["one two three four", "five six"]


def test_a_border_that_would_leave_a_part_nearly_empty_is_not_used() -> None:
    assert split_text("Hi.\n\n" + "word " * 10, 40)[0] == "Hi.\n\nword word word word word word word"


def test_an_address_stays_whole() -> None:
    url = "https://bold-otter.example/invoices?from=2026-01-01&to=2026-12-31"
    for before in range(1, 90):
        parts = split_text(f"{'x' * before}({url}) and more", 100)
        assert any(url in part for part in parts), before


def test_a_grapheme_stays_whole() -> None:
    family = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
    parts = split_text(family * 30, 20)
    assert "".join(parts) == family * 30
    assert all(len(part) % len(family) == 0 for part in parts)


def test_a_grapheme_longer_than_a_part_is_cut_all_the_same() -> None:
    tower = "a" + "\u0301" * 100
    parts = split_text(tower, 20)
    assert "".join(parts) == tower
    assert max(map(size_units, parts)) <= 20
