"""Logging: one line an event, to standard error, which the supervisor keeps. Never a secret or a tenant's words."""

import logging
import sys
import traceback
from types import TracebackType

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    """Writes where an exception came from and of what type it is, but not its message, which may quote anybody."""

    def formatException(self, ei: ExceptionInfo) -> str:  # logging's own name
        kind, _, trace = ei
        frames = "".join(traceback.format_tb(trace, limit=-4)) if trace else ""
        return f"{frames}{kind.__name__ if kind else ''}"


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send all logging of this process to standard error; libraries only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("subclaw").setLevel(level)
