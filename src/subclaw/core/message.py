"""The text of a message: what a person sent, made safe to store and to show to a model."""

import unicodedata

from subclaw.core.errors import Invalid

TEXT_LIMIT_CHARACTERS = 32_000
"""Longest text of one message. More is refused in words: a model's window and a person's patience both end."""

STOP = "stop"
"""What a person says, and nothing else, to end what their agent is doing."""

_KEPT_CONTROLS = {"\n", "\t"}


def clean_text(raw: str) -> str:
    """Return what is stored of a text: normal form C, one kind of line end, no control characters, no outer space.

    Right-to-left text, emoji and their joiners pass. Bidirectional *overrides* and the like are format characters, not
    controls; they pass too, and whoever shows a message isolates it.
    Errors: `Invalid`, in words for the sender, if nothing is left or if it is too long.
    """
    if len(raw) > 4 * TEXT_LIMIT_CHARACTERS:
        raise _too_long(len(raw))
    lines = raw.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in unicodedata.normalize("NFC", lines) if not _is_control(c)).strip()
    if not text:
        raise Invalid("That message was empty. Tell me in a sentence what you would like.")
    if len(text) > TEXT_LIMIT_CHARACTERS:
        raise _too_long(len(text))
    return text


def is_stop(text: str) -> bool:
    """Say whether a message is the word to stop, however it is written: `Stop!`, `/stop`, `STOP.`"""
    return text.strip(" \t\n/.!,").casefold() == STOP


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") and character not in _KEPT_CONTROLS


def _too_long(length: int) -> Invalid:
    return Invalid(
        f"That message has {length:,} characters, and I can take {TEXT_LIMIT_CHARACTERS:,}. Please send it in parts."
    )
