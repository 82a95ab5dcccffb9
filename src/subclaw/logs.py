"""Logging: one line an event, to standard error, which the supervisor keeps. Never a secret or a tenant's words."""

import asyncio
import logging
import sys
import traceback
from contextlib import nullcontext
from types import TracebackType
from typing import TextIO

GATHER_S = 0.2
GATHERED_LINES = 1_000
"""How long a line may wait that is no warning, and with how many. A process that is killed may take those with it."""

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    """Writes where an exception came from and of what type it is, but not its message, which may quote anybody."""

    def formatException(self, ei: ExceptionInfo) -> str:  # logging's own name
        kind, _, trace = ei
        frames = "".join(traceback.format_tb(trace, limit=-4)) if trace else ""
        return f"{frames}{kind.__name__ if kind else ''}"


class _Gathering(logging.StreamHandler[TextIO]):
    """Writes what is no warning a moment later, many lines at once: each write wakes whoever keeps the log."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._due: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        try:
            self._lines.append(self.format(record))
        except Exception:
            self.handleError(record)
        if record.levelno >= logging.WARNING or len(self._lines) >= GATHERED_LINES or not self._put_off():
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("".join(f"{line}\n" for line in lines))
            super().flush()

    def _put_off(self) -> bool:
        """Have it flushed soon, and say whether that can be done."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._due is None or self._due.when() <= loop.time():
            self._due = loop.call_later(GATHER_S, self.flush)
        return True


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send all logging of this process to standard error; libraries only from warnings on."""
    handler = _Gathering(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("subclaw").setLevel(level)
