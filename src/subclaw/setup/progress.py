"""A progress bar for a terminal, plain lines for a log."""

import shutil
import time
from collections.abc import Callable
from typing import Protocol, Self

BAR_CELLS = 24
PLAIN_STEP_PERCENT = 10
QUIET_S = 2.0
"""What is over sooner than this gets no plain progress lines, only its closing one."""


class TextOutput(Protocol):
    """Where progress is drawn."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


def bar_line(label: str, fraction: float, elapsed_s: float, columns: int) -> str:
    """Return one line of at most `columns` characters that shows how far `label` has come; `fraction` is 0 to 1."""
    filled = round(fraction * BAR_CELLS)
    bar = "#" * filled + "." * (BAR_CELLS - filled)
    tail = f" [{bar}] {round(fraction * 100):3d} % {elapsed_s:4.0f} s"
    return (label[: max(0, columns - len(tail))] + tail)[:columns]


class Bar:
    """One step's progress. It never goes back, and it draws only what is new."""

    def __init__(self, label: str, output: TextOutput, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._output = output
        self._clock = clock
        self._started = clock()
        self._fraction = 0.0
        self._drawn = ""
        self._plain_percent = 0
        self._live = output.isatty()
        self.advance(0.0)

    def advance(self, fraction: float) -> None:
        """Show that `fraction` (0 to 1) of the step is done; a smaller one than before only redraws the time."""
        self._fraction = max(self._fraction, min(1.0, fraction))
        elapsed_s = self._clock() - self._started
        if self._live:
            self._draw(bar_line(self._label, self._fraction, elapsed_s, shutil.get_terminal_size().columns - 1))
        elif elapsed_s >= QUIET_S:
            self._print_step()

    def close(self, words: str) -> None:
        """End the step with one line: `words` and how long it took."""
        self._clear()
        self._output.write(f"{words} ({self._clock() - self._started:.0f} s)\n")
        self._output.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no half-drawn bar in front of an error's line."""
        self._clear()

    def _clear(self) -> None:
        if self._drawn:
            self._drawn = ""
            self._output.write("\r\x1b[K")
            self._output.flush()

    def _draw(self, line: str) -> None:
        if line != self._drawn:
            self._drawn = line
            self._output.write("\r" + line + "\x1b[K")
            self._output.flush()

    def _print_step(self) -> None:
        percent = int(self._fraction * 100) // PLAIN_STEP_PERCENT * PLAIN_STEP_PERCENT
        if self._plain_percent < percent < 100:
            self._plain_percent = percent
            self._output.write(f"{self._label}: {percent} %\n")
            self._output.flush()
