"""Starts of a box that cannot be."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.real.box.running import environment

LIMIT_S = 60


def start(home: Path, settings: dict[str, str], prefix: Sequence[str] = ()) -> tuple[int, str]:
    """Try to start a box that cannot; return its exit code and all that it said."""
    ended = subprocess.run(
        [*prefix, sys.executable, "-m", "subclaw", "up"],
        env=environment(home, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        cwd="/",
    )
    return ended.returncode, ended.stdout.strip()


def refused(home: Path, settings: dict[str, str], prefix: Sequence[str] = ()) -> str:
    """Return the one line with which a start was refused, without its beginning."""
    code, said = start(home, settings, prefix)
    assert code == 1, said
    assert "Traceback" not in said
    assert said.startswith("subclaw: ")
    assert "\n" not in said, "one line"
    return said.removeprefix("subclaw: ")


def hidden(*paths: str) -> list[str]:
    """Return a command prefix that runs a program where these files and folders are as if they were not there."""
    hide = "".join(
        f"mount -t tmpfs none {path}; " if Path(path).is_dir() else f"mount --bind /dev/null {path}; " for path in paths
    )
    return ["unshare", "--mount", "sh", "-ec", f'{hide}exec "$@"', "sh"]
