"""Searching file contents with ripgrep, within bounds."""

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass, field

from subclaw_guest.commands import end
from subclaw_guest.files import resolve
from subclaw_guest.processes import Child, Processes, read_some
from subclaw_guest.refusals import Reason, Refused

TIME_LIMIT_S = 20.0
TEXT_LIMIT = 300
DETAIL_LIMIT = 500
LINE_LIMIT_BYTES = 65_536
BROKEN = 2
OPTIONS = (
    "--null --line-number --no-heading --with-filename --color=never --hidden --no-ignore --glob=!.git --no-messages"
    f" --sort=path --max-columns={TEXT_LIMIT} --max-columns-preview"
)


@dataclass(kw_only=True)
class Found:
    """Matches as (path, line number, text); what was no match; and whether there was more."""

    matches: list[tuple[str, int, str]] = field(default_factory=list)
    other: bytes = b""
    more: bool = False


async def search(processes: Processes, pattern: str, path: str, limit: int) -> Found:
    """Search under a folder or in a file for a regular expression. Raises `Refused` or `OSError`."""
    whole = resolve(path)
    os.stat(whole)
    child = processes.start(["/usr/bin/rg", *OPTIONS.split(), "-e", pattern, "--", whole])
    found = Found()
    try:
        async with asyncio.timeout(TIME_LIMIT_S):
            await collect(child, found, limit)
            if not found.more and await asyncio.shield(child.exited) == BROKEN and not found.matches and found.other:
                raise Refused(Reason.BAD_PATTERN, found.other.decode(errors="replace")[:DETAIL_LIMIT])
    except TimeoutError:
        found.more = True
    finally:
        os.close(child.output)
        if not child.exited.done():
            await end(child)
    return found


async def collect(child: Child, found: Found, limit: int) -> None:
    """Read ripgrep's lines until they end or there are enough."""
    rest = b""
    while piece := await read_some(child.output):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            take(line, found)
            if len(found.matches) > limit:
                found.matches.pop()
                found.more = True
                return
        if len(rest) > LINE_LIMIT_BYTES:
            rest = b""
    if rest:
        take(rest, found)


def take(line: bytes, found: Found) -> None:
    """Understand one line: `path NUL number : text`, or words of ripgrep's."""
    path, separator, tail = line.partition(b"\0")
    number, colon, text = tail.partition(b":")
    if separator and colon:
        with contextlib.suppress(ValueError):
            found.matches.append((os.fsdecode(path), int(number), text.decode(errors="replace")[:TEXT_LIMIT]))
    elif len(found.other) < 4 * DETAIL_LIMIT:
        found.other += line + b"\n"


def encode(found: Found) -> bytes:
    """Put the matches into JSON, one a line."""
    lines = (json.dumps([os.fsencode(path).decode(errors="replace"), line, text]) for path, line, text in found.matches)
    return "".join(line + "\n" for line in lines).encode()
