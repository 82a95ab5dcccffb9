"""Raw output in an answer: what stands there word for word as in a tool's result, and stack traces.

All of it takes time in proportion to the texts, and none to speak of for a short answer.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

LINES = 3
"""So many lines one after the other, as they stand in a result, are raw output, ..."""

LINES_CHARACTERS = 80
"""... if they have so many characters together: a short list of things is an answer."""

RUN_CHARACTERS = 300
"""So many characters are raw output in any case."""

_STRIDE = 100
_WINDOW = RUN_CHARACTERS - _STRIDE
"""A run of `RUN_CHARACTERS` holds a whole window of the result, since those begin at each stride."""

_LOOKED_AT_CHARACTERS = 400
"""How much of a line is looked at to see whether it is one of a trace, ..."""

_PLACE_CHARACTERS = 120
"""... and how much of its end, to see whether that is a place in a program."""

_RESULTS = 64
"""Of how many results, the newest, an answer is looked through for pieces."""

_FRAME = re.compile(
    r"\s*File \"[^\"]+\", line \d+"  # Python
    r"|\s*at [\w.$<>/]+\((?:\w+\.\w+:\d+|Native Method|Unknown Source)\)$"  # Java
    r"|\s*\S+\.go:\d+(?: \+0x[0-9a-f]+)?$"  # Go
)
_PLACE = re.compile(r"[/.\\>][^\s/.\\>]*:\d+:\d+\)?$")
"""How a frame of Node's ends, which begins with `at`."""

_HEAD = re.compile(
    r"\s*(?:Traceback \(most recent call last\):|goroutine \d+ \[[^\]]*\]:|panic: |Exception in thread |Caused by: "
    r"|\.\.\. \d+ more$)"
)
_CAUSE = re.compile(r"(?:Uncaught )?[\w.$]*(?:Error|Exception|Exit|Interrupt|panic)\b(?: \[\w+\])?(?::|$)")
_GAP = 3
"""How far apart two lines of one trace are at most: there is source, and what points at it, between them."""

_FENCE = "```"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a text: `text[start:end]`, which is not empty."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A line that is not blank, where it is, and what it has between its outer spaces."""

    start: int
    end: int
    words: str


def find_raw_output(text: str, results: Sequence[str], said: str) -> tuple[Piece, ...]:
    """Return the raw output in a text, in order and apart from each other: pieces of the newest `results`, and traces.

    What the person `said` themselves is none.
    """
    lines = list(_lines(text))
    own = frozenset(line.words for line in _lines(said)) if said else frozenset()
    found = [*_traces(text, lines, own)]
    if newest := results[-_RESULTS:]:
        found += [*_copied_lines(lines, newest, own), *_copied_runs(text, newest, said)]
    return _apart(_with_fences(lines, piece) for piece in found) if found else ()


def cut_out(text: str, pieces: Sequence[Piece], note: str) -> str:
    """Return a text with a note in the place of each piece; `{lines}` in it is how many lines there were."""
    kept, end = [], 0
    for piece in pieces:
        kept += [text[end : piece.start], note.replace("{lines}", say_lines(text, [piece]))]
        end = piece.end
    return "".join([*kept, text[end:]]).strip()


def say_lines(text: str, pieces: Sequence[Piece]) -> str:
    """Return how many lines the pieces have: `1 line`, `12 lines`."""
    count = sum(1 for piece in pieces for line in _lines(text[piece.start : piece.end]) if not _is_fence(line))
    return "1 line" if count == 1 else f"{count} lines"


def _lines(text: str) -> Iterator[_Line]:
    start = 0
    for line in text.split("\n"):
        if words := line.strip():
            yield _Line(start=start, end=start + len(line), words=words)
        start += len(line) + 1


def _copied_lines(lines: Sequence[_Line], results: Sequence[str], own: frozenset[str]) -> Iterator[Piece]:
    """Yield the lines that follow each other in a result as they do here; blank ones and outer spaces do not count."""
    words = [line.words for line in lines]
    wanted = set(_in_rows(words))
    if not wanted:
        return
    found: set[tuple[str, ...]] = set()
    for result in results:
        found |= wanted.intersection(_in_rows([stripped for line in result.split("\n") if (stripped := line.strip())]))
    copied: set[int] = set()
    for n, row in enumerate(_in_rows(words)):
        if row in found and not own.issuperset(row):
            copied.update(range(n, n + LINES))
    for first, last in _runs(sorted(copied)):
        if sum(map(len, words[first : last + 1])) >= LINES_CHARACTERS:
            yield Piece(start=lines[first].start, end=lines[last].end)


def _in_rows(lines: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Return each line with those that follow it, so many as are raw output together."""
    return zip(*(lines[n:] for n in range(LINES)), strict=False)


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each row of numbers without a gap."""
    breaks = [n for n, (one, other) in enumerate(pairwise(numbers), 1) if other > one + 1]
    for begin, end in pairwise([0, *breaks, len(numbers)]):
        if numbers:
            yield numbers[begin], numbers[end - 1]


def _copied_runs(text: str, results: Sequence[str], said: str) -> Iterator[Piece]:
    """Yield what is as long as a window or longer, and everything that is as long as a run."""
    if len(text) < _WINDOW:
        return
    windows: dict[str, tuple[str, int]] = {}
    for result in results:
        for at in range(0, len(result) - _WINDOW + 1, _STRIDE):
            windows.setdefault(result[at : at + _WINDOW], (result, at))
    at = end = 0
    while at + _WINDOW <= len(text):
        window = text[at : at + _WINDOW]
        if window not in windows or window.isspace():
            at += 1
            continue
        piece = _extended(text, at, *windows[window], floor=end)
        if text[piece.start : piece.end] not in said:
            yield piece
        at = end = max(piece.end, at + 1)


def _extended(text: str, at: int, result: str, there: int, *, floor: int) -> Piece:
    """Return the window at `at`, and what is as in the result before and after it, without outer spaces."""
    start, first = at, there
    while start > floor and first > 0 and text[start - 1] == result[first - 1]:
        start, first = start - 1, first - 1
    end, last = at + _WINDOW, there + _WINDOW
    while end < len(text) and last < len(result) and text[end] == result[last]:
        end, last = end + 1, last + 1
    copied = text[start:end]
    return Piece(start=end - len(copied.lstrip()), end=start + len(copied.rstrip()))


def _traces(text: str, lines: Sequence[_Line], own: frozenset[str]) -> Iterator[Piece]:
    """Yield the stack traces: at least two lines that mark one, of which one is a frame, with what belongs to them."""
    looked_at = [text[line.start : min(line.end, line.start + _LOOKED_AT_CHARACTERS)] for line in lines]
    frames = [n for n, line in enumerate(looked_at) if _is_frame(line)]
    if not frames:
        return
    marks = sorted({*frames, *(n for n, line in enumerate(looked_at) if _HEAD.match(line))})
    breaks = [n for n, (one, other) in enumerate(pairwise(marks), 1) if other > one + _GAP]
    for begin, end in pairwise([0, *breaks, len(marks)]):
        group = marks[begin:end]
        if len(group) < 2 or not set(frames).intersection(group):
            continue
        first, last = _grown(looked_at, group[0], group[-1])
        if not own.issuperset(line.words for line in lines[first : last + 1]):
            yield Piece(start=lines[first].start, end=lines[last].end)


def _is_frame(line: str) -> bool:
    if _FRAME.match(line):
        return True
    return line.lstrip().startswith("at ") and _PLACE.search(line[-_PLACE_CHARACTERS:]) is not None


def _grown(looked_at: Sequence[str], first: int, last: int) -> tuple[int, int]:
    """Return the first and the last line of a trace, with the source after its last frame, and its cause."""
    while last + 1 < len(looked_at) and looked_at[last + 1][0].isspace():
        last += 1
    if last + 1 < len(looked_at) and _CAUSE.match(looked_at[last + 1]):
        last += 1
    if first > 0 and _CAUSE.match(looked_at[first - 1]):
        first -= 1
    return first, last


def _with_fences(lines: Sequence[_Line], piece: Piece) -> Piece:
    """Return a piece with the lines of a code block's border around it, if all of the block is in it."""
    before = bisect_left(lines, piece.start, key=lambda line: line.start) - 1
    after = bisect_right(lines, piece.end, key=lambda line: line.end)
    if before < 0 or after >= len(lines) or not (_is_fence(lines[before]) and _is_fence(lines[after])):
        return piece
    return Piece(start=lines[before].start, end=lines[after].end)


def _is_fence(line: _Line) -> bool:
    return line.words.startswith(_FENCE)


def _apart(pieces: Iterator[Piece]) -> tuple[Piece, ...]:
    """Return pieces in order, those that overlap or touch as one."""
    apart: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if apart and piece.start <= apart[-1].end:
            apart[-1] = Piece(start=apart[-1].start, end=max(apart[-1].end, piece.end))
        else:
            apart.append(piece)
    return tuple(apart)
