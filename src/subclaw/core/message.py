"""The text of a message: what a person sent, made safe to store and to show to a model."""

import re
import unicodedata

from subclaw.core.errors import Invalid

TEXT_LIMIT_CHARACTERS = 200_000
"""Longest text of one message: a long document. More is refused in words. A model is not told all of a long one."""

STOP = "stop"
"""What a person says, and nothing else, to end what their agent is doing."""

_NOT_KEPT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Controls (category Cc) but line feed and tab, and surrogates (Cs)."""


SPEAKER_LIMIT_CHARACTERS = 64


def clean_name(raw: str, limit_characters: int = SPEAKER_LIMIT_CHARACTERS) -> str:
    """Return a name that people chose, in one line and without what sets off names and notes from words: `[`, `]`."""
    line = " ".join(_NOT_KEPT.sub(" ", unicodedata.normalize("NFC", raw[: 4 * limit_characters])).split())
    return re.sub(r"[\[\]]", "", line)[:limit_characters].strip(" :")


def clean_text(raw: str) -> str:
    """Return what is stored of a text: normal form C, one kind of line end, no control characters, no outer space.

    Right-to-left text, emoji and their joiners pass. Bidirectional *overrides* and the like are format characters, not
    controls; they pass too, and whoever shows a message isolates it.
    Errors: `Invalid`, in words for the sender, if nothing is left or if it is too long.
    """
    if len(raw) > 4 * TEXT_LIMIT_CHARACTERS:
        raise _too_long(len(raw))
    lines = raw.replace("\r\n", "\n").replace("\r", "\n")
    text = _NOT_KEPT.sub("", unicodedata.normalize("NFC", lines)).strip()
    if not text:
        raise Invalid("That message was empty. Tell me in a sentence what you would like.")
    if len(text) > TEXT_LIMIT_CHARACTERS:
        raise _too_long(len(text))
    return text


def is_stop(text: str) -> bool:
    """Say whether a message is the word to stop, however it is written: `Stop!`, `/stop`, `STOP.`"""
    return text.strip(" \t\n/.!,").casefold() == STOP


def _too_long(length: int) -> Invalid:
    return Invalid(
        f"That message has {length:,} characters, and I can take {TEXT_LIMIT_CHARACTERS:,}. Please send it in parts."
    )
