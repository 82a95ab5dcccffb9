"""Scrubbing: a secret that an upstream sends back is blotted out before anybody sees it.

What is found: the value as it is, escaped for JSON, percent-encoded, in hexadecimal (either case), and in base64
(either alphabet, at any of the three alignments, so also inside `user:secret` or a larger text).
The blot is as long as what it covers, so that lengths stay true: `[secret]***`.

Limits, on purpose: a value shorter than `SHORTEST_CHARACTERS` is not looked for (it would blot out ordinary words);
up to eleven bits at either end of a value inside a larger base64 text stay; base64 broken over lines, mixed hexadecimal
case, compression, encryption, reversal and the like are not seen. An upstream that wants to betray a secret can: this
is for those that echo.
"""

import base64
import json
from collections.abc import Sequence
from urllib.parse import quote

SHORTEST_CHARACTERS = 8
_BLOT = b"[secret]"


def forms_of(value: str) -> tuple[bytes, ...]:
    """Return the byte strings to look for, longest first; none for a value that is too short."""
    if len(value) < SHORTEST_CHARACTERS:
        return ()
    plain, percent, escaped = value.encode(), quote(value, safe=""), json.dumps(value)[1:-1]
    texts = (percent, _lower_escapes(percent), escaped, escaped.replace("/", "\\/"), plain.hex(), plain.hex().upper())
    found = {plain, *(text.encode() for text in texts), *_base64_cores(plain)}
    return tuple(sorted(found, key=len, reverse=True))


class Scrubber:
    """Blots out forms of a secret in a stream of chunks, across their borders.

    It holds back only an end of a chunk that could be the beginning of a form: less than one form's length.
    """

    def __init__(self, forms: tuple[bytes, ...]) -> None:
        self._forms = forms
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what may be passed on now."""
        data = blot(self._held + chunk, self._forms)
        keep = self._begins_at(data)
        self._held = data[keep:]
        return data[:keep]

    def last(self, chunk: bytes) -> bytes:
        """Return what may be passed on of the last chunk, and of what was held back: all of it."""
        data, self._held = self._held + chunk, b""
        return blot(data, self._forms)

    def flush(self) -> bytes:
        """Return what was held back; the stream is over."""
        rest, self._held = self._held, b""
        return rest

    def _begins_at(self, data: bytes) -> int:
        """Return where an unfinished form begins, or the length of the data."""
        earliest = len(data)
        for form in self._forms:
            start = data.find(form[:1], max(0, len(data) - len(form) + 1), earliest)
            while start != -1 and not form.startswith(data[start:]):
                start = data.find(form[:1], start + 1, earliest)
            if start != -1:
                earliest = start
        return earliest


def blot(data: bytes, forms: Sequence[bytes]) -> bytes:
    """Blot out every whole form in `data`; the length stays."""
    for form in forms:
        if form in data:
            data = data.replace(form, (_BLOT + b"*" * len(form))[: len(form)])
    return data


def _base64_cores(plain: bytes) -> set[bytes]:
    """Return, for each alignment, the part of the base64 text that the value alone decides."""
    cores: set[bytes] = set()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + plain)
        core = encoded[(8 * shift + 5) // 6 : 8 * (shift + len(plain)) // 6]
        cores |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return cores


def _lower_escapes(percent: str) -> str:
    head, *escapes = percent.split("%")
    return head + "".join(f"%{escape[:2].lower()}{escape[2:]}" for escape in escapes)
