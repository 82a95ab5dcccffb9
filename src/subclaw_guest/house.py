"""The tenant's house, `/etc/subclaw`: what is in it, as far as it can be used, and putting files into it.

The tenant may have put anything there. What is looked at is bounded, nothing is opened that is no regular file, and
what cannot be used is listed with a problem. These functions block; the agent calls them in a thread.

Files go over the wire as records: a line of JSON, `[path, size, problem]`, and as many bytes. A size of -1 is a file
that cannot be used or, on the way in, one to remove.
"""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from subclaw_guest.files import Replacement, sync_folder
from subclaw_guest.refusals import Reason, Refused, reason_of

HOUSE = "/etc/subclaw"
FIRST = ("system.md", "memory.md", "tools.json")
SKILLS = "skills"
LOOKED_AT = 1_000
"""How many names are looked at, at the most; the rest does not count."""

TICK_NS = 100_000_000
"""What was changed so shortly ago may change again without its times being others: they are those of a coarse clock."""

NOTHING = -1


class Problem(StrEnum):
    """Why a file cannot be used: codes on the wire, put into words by the host."""

    IS_FOLDER = "is_folder"
    NOT_REGULAR = "not_regular"
    BAD_LINK = "bad_link"
    BAD_NAME = "bad_name"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TOO_MUCH = "too_much"
    TOO_MANY = "too_many"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a house counts; set by the host."""

    files: int
    file_bytes: int
    house_bytes: int
    path_characters: int
    depth: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of the house, before it is read. `state` is other when it has changed; `newest_ns` is when it last did."""

    path: str
    problem: Problem | None
    state: tuple[int, ...] = ()
    newest_ns: int = 0


def look(known: str, limits: Limits, house: str = HOUSE) -> tuple[str, bytes]:
    """Return the house's signature and its files as records, none if the signature is the known one.

    Raises `OSError` if there is no such folder.
    """
    entries = list(found(house, limits))
    signature = signature_of(entries)
    if signature == known:
        return signature, b""
    return signature, b"".join(records(house, entries, limits))


def signature_of(entries: list[Entry]) -> str:
    """Return what is the same as long as nothing changes; another each time while something has just changed."""
    if max((entry.newest_ns for entry in entries), default=0) > time.time_ns() - TICK_NS:
        return os.getrandom(16).hex()
    parts = [(entry.path, entry.problem, entry.state) for entry in entries]
    # Python's own: OpenSSL's take a while at their first use.
    return hashlib.blake2b(ascii(parts).encode(), digest_size=16).hexdigest()


def found(house: str, limits: Limits) -> Iterator[Entry]:
    """Yield the house's files, those that matter most first. Raises `OSError` if there is no such folder."""
    visited = islice(names(house, limits.depth), LOOKED_AT)
    ranked = sorted({path for path, is_file in visited if is_file}, key=lambda path: (rank(path), path))
    listed = limits.files if len(ranked) <= limits.files else limits.files - 1
    for path in ranked[:listed]:
        yield entry_of(house, path, limits)
    if ranked[listed:]:
        yield Entry(path=shown(ranked[listed], limits), problem=Problem.TOO_MANY)


def rank(path: str) -> int:
    """Say in which order files count, when not all can."""
    if path in FIRST:
        return FIRST.index(path)
    return len(FIRST) if path.endswith(".md") else len(FIRST) + 1


def names(house: str, depth: int) -> Iterator[tuple[str, bool]]:
    """Yield the path of each name that is looked at, and whether it may be a file of the house; some come twice.

    Hidden ones are none, nor is what links to folders lead to.
    """
    os.scandir(house).close()
    for name in FIRST:
        yield name, os.path.lexists(os.path.join(house, name))
    if not os.path.islink(os.path.join(house, SKILLS)):
        yield from names_in(house, SKILLS, depth - 1)
    yield from names_in(house, "", depth)


def names_in(house: str, folder: str, depth: int) -> Iterator[tuple[str, bool]]:
    """Yield what is looked at in a folder and, as deep as files of the house can be, in its folders."""
    try:
        with os.scandir(os.path.join(house, folder)) as entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)
                is_hidden = entry.name.startswith(".")
                is_folder = entry.is_dir(follow_symlinks=False) and not is_files_name(path)
                yield path, not is_hidden and not is_folder
                if is_folder and not is_hidden and depth > 1:
                    yield from names_in(house, path, depth - 1)
    except OSError:
        return


def is_files_name(path: str) -> bool:
    """Say whether a folder is in the place of a file."""
    return path.endswith((".md", ".json"))


def entry_of(house: str, path: str, limits: Limits) -> Entry:
    """Look at a file without opening it."""
    name = shown(path, limits)
    try:
        own = os.lstat(os.path.join(house, path))
        target = os.stat(os.path.join(house, path)) if stat.S_ISLNK(own.st_mode) else own
    except OSError:
        return Entry(path=name, problem=Problem.BAD_LINK)
    state = (*state_of(own), *state_of(target))
    newest_ns = max(own.st_ctime_ns, target.st_ctime_ns)
    return Entry(path=name, problem=problem_of(target, name == path, limits), state=state, newest_ns=newest_ns)


def state_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what is other when a file has changed."""
    return (
        status.st_mode,
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def problem_of(status: os.stat_result, is_name: bool, limits: Limits) -> Problem | None:
    """Say what is wrong with a file as it looks."""
    if not is_name:
        return Problem.BAD_NAME
    if stat.S_ISDIR(status.st_mode):
        return Problem.IS_FOLDER
    if not stat.S_ISREG(status.st_mode):
        return Problem.NOT_REGULAR
    return Problem.TOO_LARGE if status.st_size > limits.file_bytes else None


def shown(path: str, limits: Limits) -> str:
    """Return a path as text that can be shown, the same if it is such."""
    text = path if path.isprintable() else ascii(path)[1:-1]
    return text[: limits.path_characters]


def records(house: str, entries: list[Entry], limits: Limits) -> Iterator[bytes]:
    """Yield the files as records, as far as they have room."""
    left_bytes = limits.house_bytes
    for entry in entries:
        content, problem = b"", entry.problem
        if problem is None:
            content, problem = content_of(os.path.join(house, entry.path), min(limits.file_bytes, left_bytes))
            if problem is Problem.TOO_LARGE and left_bytes < limits.file_bytes:
                problem = Problem.TOO_MUCH
        left_bytes -= len(content)
        yield record(entry.path, content if problem is None else None, problem or "")


def content_of(path: str, limit_bytes: int) -> tuple[bytes, Problem | None]:
    """Read a regular file whole, or say why it cannot be used."""
    try:
        # Not blocking, because anything may have come to be there since it was looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return b"", Problem.NOT_REGULAR
            content = b""
            while len(content) <= limit_bytes and (piece := os.read(descriptor, limit_bytes + 1 - len(content))):
                content += piece
        finally:
            os.close(descriptor)
    except OSError:
        return b"", Problem.UNREADABLE
    return (b"", Problem.TOO_LARGE) if len(content) > limit_bytes else (content, None)


def record(path: str, content: bytes | None, problem: str = "") -> bytes:
    """Put a file into a record."""
    size = NOTHING if content is None else len(content)
    return json.dumps([path, size, problem]).encode() + b"\n" + (content or b"")


def put(content: bytes, house: str = HOUSE) -> list[tuple[int, str]]:
    """Write the files that records hold, and remove others; return which were refused, by their number, and why.

    Raises `Refused` if these are no records.
    """
    refused = []
    for number, (path, file) in enumerate(parsed(content)):
        try:
            put_file(os.path.join(house, path), file)
        except Refused as refusal:
            refused.append((number, refusal.reason.value))
        except OSError as error:
            refused.append((number, reason_of(error).value))
    return refused


def parsed(content: bytes) -> Iterator[tuple[str, bytes | None]]:
    """Yield the paths and contents in records. Raises `Refused`, `ValueError`."""
    at = 0
    while at < len(content):
        end = content.index(b"\n", at)
        path, size, _ = json.loads(content[at:end])
        at = end + 1 + max(0, size)
        if at > len(content):
            raise Refused(Reason.BAD_REQUEST)
        yield path, None if size == NOTHING else content[end + 1 : at]


def put_file(path: str, content: bytes | None) -> None:
    """Write a file, or remove it if it is there. Raises `Refused`, `OSError`."""
    if content is None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
            sync_folder(os.path.dirname(path))
        return
    with contextlib.closing(Replacement(path)) as replacement:
        replacement.add(content)
        replacement.commit()
