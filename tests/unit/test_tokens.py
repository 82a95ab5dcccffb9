"""Estimates of tokens, and their correction by a provider's count."""

from subclaw.core.tokens import CORRECTION_HIGHEST, CORRECTION_LOWEST, Gauge, text_tokens


def test_text_is_estimated_by_its_bytes() -> None:
    assert [text_tokens(text) for text in ("", "abc", "abcd", "漢字", "\ud800")] == [0, 1, 2, 2, 1]


def test_a_count_corrects_what_it_counted_and_what_comes_after_never_to_less() -> None:
    gauge = Gauge(estimated=1_000)
    assert gauge.tokens == 1_000
    english = gauge.corrected(800).grown(100)
    assert english.tokens == 900
    dense = gauge.corrected(2_000).grown(100)
    assert dense.tokens == 2_200
    assert dense.shrunk(500).tokens == 1_200
    assert dense.corrected(0) == dense


def test_a_count_that_cannot_be_changes_little() -> None:
    gauge = Gauge(estimated=1_000)
    assert gauge.corrected(1).tokens == CORRECTION_LOWEST * 1_000
    assert gauge.corrected(10**9).tokens == CORRECTION_HIGHEST * 1_000
