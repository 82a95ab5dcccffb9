"""What holds for all real tests: whatever they start is gone when they end."""

import ctypes
from collections.abc import Iterator

import psutil
import pytest

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Adopt every orphan of this run, however it came to be one, and show at the end that none lives."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot adopt orphans")
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    _, alive = psutil.wait_procs(left, timeout=5)  # a process that was just killed may take a moment
    assert [" ".join(process.cmdline()) for process in alive] == []
