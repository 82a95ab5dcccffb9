"""Showing a reply while it is being said: how much of it is sure to be in the reply as it will be shown.

What may still become something else is held back: a word that may become a key, a link to a file, spaces at the end.
"""

import re
import string

from subclaw.core.key_shapes import find_keys
from subclaw.core.outgoing import first_file_link

LOOKBACK_CHARACTERS = 700
"""How far before what was shown a key's name may stand."""

_IN_WORD = string.ascii_letters + string.digits + "_.:/+=~@%&?#-"
"""What keys and addresses are made of."""

_LINK_CHARACTERS = 1_400
_UNFINISHED_LINK = re.compile(r"!?\[[^\[\]\n]{0,300}(?:\](?:\([^()\n]{0,1000})?)?\Z|!\Z")


def showable(text: str, shown: int) -> int:
    """Return how many characters may be shown of a reply that begins with `text`; `shown` of them are already."""
    end = len(text.rstrip(_IN_WORD))
    if unfinished := _UNFINISHED_LINK.search(text, max(shown, end - _LINK_CHARACTERS), end):
        end = unfinished.start()
    if "](" in text and (link := first_file_link(text)) is not None:
        end = min(end, link)
    looked_at = max(0, shown - LOOKBACK_CHARACTERS)
    for key in find_keys(text[looked_at : max(end, looked_at)]):
        if looked_at + key.end > shown:
            end = looked_at + key.start
            break
    return max(shown, len(text[:end].rstrip()))
