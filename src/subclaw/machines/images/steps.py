"""Running the programs of a build: line by line, so that progress shows, and with their failures put into words."""

import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from subclaw.core.errors import Unavailable

LINES_KEPT = 40
LINE_LIMIT_CHARACTERS = 200
HINTS = {
    "No space left on device": "the disk is full",
    "Temporary failure resolving": "there is no network",
    "Could not resolve": "there is no network",
    "Connection timed out": "there is no network",
    "Failed to fetch": "a package source does not answer",
    "NO_PUBKEY": "a package source is signed by an unknown key",
    "Unable to locate package": "a package is not in this host's package sources",
    "THESE PACKAGES DO NOT MATCH THE HASHES": "a package is not the one that was pinned",
    "EINTEGRITY": "a package is not the one that was pinned",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """A program to run. `environment` is added to this process's own; `failure` is what to tell a person."""

    command: list[str]
    failure: str
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def run_step(step: Step, on_line: Callable[[str], None] = lambda line: None) -> None:
    """Run a program to its end, handing on each line that it prints. Raises `Unavailable` if it fails."""
    last: deque[str] = deque(maxlen=LINES_KEPT)
    try:
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=step.folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **step.environment},
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise Unavailable(f"{step.failure}.", internal=str(error)) from error
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                on_line(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise Unavailable(f"{step.failure}{hint(last)}.", internal="\n".join(last))


def hint(lines: deque[str]) -> str:
    """Say why: in our words where a program's last lines have a known sign, else in its own last one."""
    text = "\n".join(lines)
    known = next((words for sign, words in HINTS.items() if sign in text), "")
    last = next((line[:LINE_LIMIT_CHARACTERS] for line in reversed(lines) if line.strip()), "")
    reason = known or last
    return f": {reason}" if reason else ""
