"""The words of text messages: how they are cut, and how Twilio changes them."""

import unicodedata

from subclaw.channels.text import split_text

PART_LIMIT = 1600
"""What Twilio takes in one message, in UTF-16 units: an emoji counts twice, as it does on the air."""

_TRIAL_PREFIX = "Sent from your Twilio trial account - "


def split_sms(text: str) -> list[str]:
    """Cut a text into what Twilio takes."""
    return split_text(text, PART_LIMIT)


def same_words(sent: str, listed: str) -> bool:
    """Tell whether a message that Twilio lists is a text that we sent.

    Its smart encoding changes quotes, dashes and spaces, and a trial account puts words of its own before them.
    """
    return _skeleton(listed.removeprefix(_TRIAL_PREFIX)) == _skeleton(sent)


def _skeleton(text: str) -> str:
    letters = "".join(character for character in unicodedata.normalize("NFKD", text) if character.isalnum())
    return letters or text.strip()
