"""A house that is being made of somebody's files: what it takes, what it leaves out and why, what was secret in it."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.house import FILE_LIMIT_BYTES, FILES_LIMIT, HOUSE, HOUSE_LIMIT_BYTES, house_path
from subclaw.core.key_shapes import redact
from subclaw.core.schedule import IfMissed, ScheduleMode

OTHERS_SHOWN = 20
"""How many of the files that have no place in a house are named; of the rest it is said how many there are."""

_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class ImportedReminder:
    """A reminder. `when` is its first time, in ISO 8601: an instant with an offset, or a time of day in `time_zone`.

    `time_zone` is an IANA name, or empty for the tenant's own. `repeat` is an RRULE (RFC 5545) without a start, or None
    for once.
    """

    when: str
    repeat: str | None
    mode: ScheduleMode
    text: str
    time_zone: str = ""
    if_missed: IfMissed = IfMissed.LATE


@dataclass(frozen=True, kw_only=True)
class Taken:
    """`source` went into the house: `target` says where."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """`source` is not in the house, or not all of it: `why`, in words."""

    source: str
    why: str


@dataclass(frozen=True, kw_only=True)
class SecretFound:
    """A secret that was in `source` and is not in the house. `kind` is such as "a GitHub token"."""

    source: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What an import comes to. `origin` says in words what the files were; `files` are by their path in the house.

    `model` and `time_zone` are empty unless the files say them.
    """

    origin: str
    files: Mapping[str, bytes]
    reminders: tuple[ImportedReminder, ...] = ()
    model: str = ""
    time_zone: str = ""
    taken: tuple[Taken, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    secrets: tuple[SecretFound, ...] = ()


class Draft:
    """Files as they were found, by path, and the house that is made of them. Each file is accounted for."""

    def __init__(self, found: Mapping[str, bytes]) -> None:
        self.found = found
        self.files: dict[str, bytes] = {}
        self.reminders: list[ImportedReminder] = []
        self._read: set[str] = set()
        self._taken: list[Taken] = []
        self._left_out: list[LeftOut] = []
        self._secrets: dict[SecretFound, None] = {}

    def text(self, path: str) -> str | None:
        """Return a file's text without the secrets in it; None if it is not there, or no text."""
        if path not in self.found:
            return None
        self._read.add(path)
        try:
            text = self.found[path].decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self.leave_out(path, "it is no text")
            return None
        return self.cleared(path, text)

    def content(self, path: str) -> bytes:
        """Return a file as it is, but for the secrets in it if it is a text."""
        self._read.add(path)
        content = self.found[path]
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return content
        return self.cleared(path, text).encode()

    def page(self, path: str) -> str | None:
        """Return the text of a markdown file, without front matter and white space around it; None if there is none."""
        text = self.text(path)
        return _FRONT_MATTER.sub("", text).strip() or None if text else None

    def data(self, path: str) -> Any:
        """Return what a JSON file says, with whatever secrets are in it; None if it is not there, or no JSON."""
        if path not in self.found:
            return None
        self._read.add(path)
        try:
            return json.loads(self.found[path])
        except (ValueError, RecursionError):
            self.leave_out(path, "it is no JSON")
            return None

    def cleared(self, source: str, text: str) -> str:
        """Return a text of `source` without the secrets in it, which the report tells of."""
        without, kinds = redact(text)
        self._secrets.update(dict.fromkeys(SecretFound(source=source, kind=kind) for kind in kinds))
        return without

    def put(self, target: str, content: str | bytes, *, sources: Collection[str]) -> bool:
        """Put a file into the house, unless it does not fit; return whether it did. `sources` are what it came from."""
        content = content.encode() if isinstance(content, str) else content
        if why := self._unfit(target, content):
            for source in sources:
                self.leave_out(source, why)
            return False
        self.files[target] = content
        self._taken += (Taken(source=source, target=target) for source in sources)
        return True

    def took(self, source: str, target: str) -> None:
        """Note that something went somewhere."""
        self._taken.append(Taken(source=source, target=target))

    def leave_out(self, source: str, why: str) -> None:
        """Note that something is not in the house. A file that is left out unread is accounted for by this."""
        self._read.add(source)
        self._left_out.append(LeftOut(source=source, why=why))

    def leave_out_all(self, sources: Collection[str], why: str, *, named: str) -> None:
        """Note that several things are not in the house, by one name for all of them."""
        if sources:
            self._read.update(sources)
            self.leave_out(named, why)

    def finish(self, origin: str, *, model: str = "", time_zone: str = "") -> Brought:
        """Return what it all came to; files that nothing was made of are left out."""
        others = sorted(set(self.found) - self._read)
        for path in others[:OTHERS_SHOWN]:
            self.leave_out(path, "it has no place in a house")
        rest = others[OTHERS_SHOWN:]
        self.leave_out_all(rest, "they have no place in a house", named=f"{len(rest)} more files")
        return Brought(
            origin=origin,
            files=self.files,
            reminders=tuple(self.reminders),
            model=model,
            time_zone=time_zone,
            taken=tuple(self._taken),
            left_out=tuple(self._left_out),
            secrets=tuple(self._secrets),
        )

    def _unfit(self, target: str, content: bytes) -> str:
        try:
            fits = house_path(f"{HOUSE}/{target}") is not None
        except Invalid:
            fits = False
        if not fits:
            return "its name, or how deep it lies, is not what a file of a house can have"
        if target in self.files:
            return f"there is another {target} already"
        if len(content) > FILE_LIMIT_BYTES:
            return f"it has {len(content):,} bytes, and a file of a house has at most {FILE_LIMIT_BYTES:,}"
        if len(self.files) >= FILES_LIMIT:
            return f"a house has at most {FILES_LIMIT} files"
        if sum(map(len, self.files.values())) + len(content) > HOUSE_LIMIT_BYTES:
            return f"a house has at most {HOUSE_LIMIT_BYTES:,} bytes"
        return ""


def fitting(draft: Draft, parts: Sequence[tuple[str, str]], *, room_bytes: int, target: str) -> list[tuple[str, str]]:
    """Return those parts (source and text) that fit into `target` together, in order; the others are left out."""
    kept: list[tuple[str, str]] = []
    for source, text in parts:
        size = len(text.encode())
        if size <= room_bytes:
            kept.append((source, text))
            room_bytes -= size
        else:
            draft.leave_out(source, f"it has {size:,} bytes, and there is no room for it in {target}")
    return kept
