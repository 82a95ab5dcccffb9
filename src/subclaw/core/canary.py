"""Canaries: texts of a run's own, one a customer and kind, that are looked for where they must not be.

A canary is small letters and digits alone, so that neither JSON nor URLs change it; other encodings are read, too.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

MARKER_CHARACTERS = 16
"""Those that begin all canaries of a run: nobody says them by chance."""

_DIGITS = 4
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_HEX_RUN = re.compile(r"(?:[0-9a-f]{2})+")
_ESCAPED = re.compile(r"\\+u00([0-9a-f]{2})")


class CanaryKind(StrEnum):
    """What a canary is part of."""

    MESSAGE = "message"
    TOOL_RESULT = "tool result"
    BINDING = "binding"
    SECRET = "secret"
    MEMORY = "memory"
    FILE = "file"
    SCHEDULE = "schedule"
    APPROVAL = "approval"


_LETTERS = dict(zip(CanaryKind, "mtbsrfdp", strict=True))
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A canary: of which customer, from 0 on, and of what kind."""

    customer: int
    kind: CanaryKind


class Canaries:
    """The canaries of one run. `marker` is `MARKER_CHARACTERS` of small letters."""

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self._whole = re.compile(rf"{marker}([0-9]{{{_DIGITS}}})([{''.join(_KINDS)}])")
        self._base64 = tuple(_base64_cores(marker))
        self._hex = marker.encode().hex()
        self._percent = "".join(f"%{byte:02x}" for byte in marker.encode())
        self._escaped = re.compile("".join(rf"\\+u00{byte:02x}" for byte in marker.encode()))

    def text(self, canary: Canary) -> str:
        """Return a canary as it is planted."""
        return f"{self.marker}{canary.customer:0{_DIGITS}}{_LETTERS[canary.kind]}"

    def pattern(self) -> str:
        """Return a regular expression, for PostgreSQL without case, that matches wherever a canary may be."""
        escaped = "".join(rf"\\+u00{byte:02x}" for byte in self.marker.encode())
        plain = (self.marker, self.marker[::-1], self._hex, self._percent, *map(re.escape, self._base64))
        return "|".join((*plain, escaped))

    def found(self, text: str) -> frozenset[Canary | None]:
        """Return the canaries in a text, in whichever encoding; None stands for one that is cut off or mangled."""
        views = list(self._views(text))
        known: set[Canary | None] = {
            Canary(customer=int(found[1]), kind=_KINDS[found[2]])
            for view in views
            for found in self._whole.finditer(view)
        }
        return frozenset(known or ({None} if views else ()))

    def _views(self, text: str) -> Iterator[str]:
        """Yield the text in the encodings in which the marker is in it, decoded."""
        small = text.lower()
        if self.marker in small:
            yield small
        if self.marker[::-1] in small:
            yield small[::-1]
        if self._hex in small:
            yield from (_from_hex(run[0][skip:]) for run in _HEX_RUN.finditer(small) for skip in (0, 1))
        if self._percent in small:
            yield unquote(small)
        if self._escaped.search(small):
            yield _ESCAPED.sub(lambda found: chr(int(found[1], 16)), small)
        if any(core in text for core in self._base64):
            yield from (_from_base64(run[0][skip:]) for run in _BASE64_RUN.finditer(text) for skip in range(4))


def _base64_cores(marker: str) -> Iterator[str]:
    """Yield what is in any Base64 of a text with the marker: by where in a group of three bytes it begins."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + marker.encode()).decode().rstrip("=")
        first = (before * 8 + 5) // 6
        last = (before + len(marker)) * 8 // 6
        yield encoded[first:last]


def _from_hex(run: str) -> str:
    return bytes.fromhex(run[: len(run) // 2 * 2]).decode("latin-1")


def _from_base64(run: str) -> str:
    try:
        whole = run[: len(run) // 4 * 4].replace("-", "+").replace("_", "/")
        return base64.b64decode(whole).decode("latin-1").lower()
    except (binascii.Error, ValueError):
        return ""
