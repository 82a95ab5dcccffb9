"""The bar on a terminal, and the lines in a log."""

import io
import itertools

from subclaw.setup.progress import Bar, bar_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_shows_how_far_it_is_and_never_wraps() -> None:
    line = bar_line("installing 3 packages", 0.5, 7.2, 79)
    assert line == "installing 3 packages [############............]  50 %    7 s"
    assert all(len(bar_line("a long label " * 9, 0.3, 1e6, columns)) <= columns for columns in range(1, 120))


def test_a_log_gets_at_most_a_line_for_ten_percent() -> None:
    log = io.StringIO()
    seconds = itertools.count(0.0, 1.0)
    bar = Bar("installing", log, clock=lambda: next(seconds))
    for at in range(1001):
        bar.advance(at / 1000)
    bar.close("installed")
    lines = log.getvalue().splitlines()
    assert lines[:-1] == [f"installing: {percent} %" for percent in range(10, 100, 10)]
    assert lines[-1].startswith("installed (")


def test_a_log_gets_only_the_end_of_what_is_quick() -> None:
    log = io.StringIO()
    bar = Bar("installing", log, clock=lambda: 5.0)
    bar.advance(0.7)
    bar.close("installed")
    assert log.getvalue() == "installed (0 s)\n"


def test_a_bar_never_goes_back() -> None:
    terminal = Terminal()
    bar = Bar("x", terminal, clock=lambda: 0.0)
    bar.advance(0.8)
    bar.advance(0.2)
    assert "80 %" in terminal.getvalue().split("\r")[-1]


def test_no_half_drawn_bar_stays_before_an_error() -> None:
    terminal = Terminal()
    with Bar("x", terminal, clock=lambda: 0.0) as bar:
        bar.advance(0.3)
    assert terminal.getvalue().endswith("\r\x1b[K")
