"""Text that goes out by a channel: cutting a long reply into parts, in the units in which providers count."""

from bisect import bisect_right
from itertools import accumulate

import regex  # type: ignore[import-untyped]

_GRAPHEME = regex.compile(r"\X")
_URL = regex.compile(r"\bhttps?://\S+", regex.IGNORECASE)
_PARAGRAPH = regex.compile(r"\n\s*\n\s*")
_LINE = regex.compile(r"\s*\n\s*")
_SENTENCE = regex.compile(r"(?<=[.!?…。！？؟।]['\")\]»”’]*)\s+")  # noqa: RUF001
_WORD = regex.compile(r"\s+")
_BORDERS = (_PARAGRAPH, _LINE, _SENTENCE, _WORD)
_FULL_ENOUGH = 0.5
"""A better kind of border counts only if it leaves a part at least this full."""


def size_units(text: str) -> int:
    """Return the length of a text in UTF-16 units."""
    return len(text) + sum(character > "\uffff" for character in text)


def split_text(text: str, limit: int) -> list[str]:
    """Cut a text into parts of at most `limit` UTF-16 units (at least 2), none of them empty.

    Cuts are made, in this order of liking, between paragraphs, lines, sentences and words; within a word that is longer
    than a part, between graphemes, and between code points only within a grapheme that is longer than a part. White
    space at a cut goes; nothing else does. An address is cut only if it is longer than a part.
    """
    parts = []
    rest = text.strip()
    while size_units(rest) > limit:
        end = _cut(rest, limit)
        parts.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*parts, rest] if rest else parts


def _cut(text: str, limit: int) -> int:
    """Return the index at which the first part ends."""
    reach = _reach(text, limit)
    for border in _BORDERS:
        end = _last_border(text, border, reach)
        if end > (0 if border is _WORD else reach * _FULL_ENOUGH):
            return end
    # One word fills the part. If it ends in an address that began after other characters, cut before that.
    for match in _URL.finditer(text, 0, reach):
        if match.start() > 0 and match.end() >= reach:
            return int(match.start())
    return _last_grapheme(text, reach)


def _reach(text: str, limit: int) -> int:
    """Return how many code points from the start fit."""
    head = text[: limit + 1]
    return bisect_right(list(accumulate(2 if character > "\uffff" else 1 for character in head)), limit)


def _last_border(text: str, border: "regex.Pattern[str]", reach: int) -> int:
    # White space that begins within reach may extend beyond it.
    starts = [match.start() for match in border.finditer(text, 0, min(len(text), reach + 1)) if match.start() <= reach]
    return starts[-1] if starts else 0


def _last_grapheme(text: str, reach: int) -> int:
    # A little beyond the reach, so that the grapheme there is seen whole.
    end = 0
    for match in _GRAPHEME.finditer(text, 0, min(len(text), reach + 64)):
        if match.end() > reach:
            break
        end = match.end()
    return end or reach
