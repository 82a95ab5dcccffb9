"""How many segments a text message is sent as: that is what carriers charge for.

Facts: 3GPP TS 23.038 (the alphabet), TS 23.040 (a header in each segment of a longer message).
"""

from subclaw.channels.sms.words import split_sms
from subclaw.channels.text import size_units

GSM_ALONE, GSM_EACH = 160, 153
"""Characters of the default alphabet in a message of one segment, and in each of several."""

UCS2_ALONE, UCS2_EACH = 70, 67
"""UTF-16 units, where one character is not of that alphabet."""

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")
"""These take two characters each."""


def count_segments(text: str) -> int:
    """Return how many segments a text is sent as, over all the messages that it is cut into.

    A provider that writes curly quotes as straight ones may send fewer.
    """
    return sum(map(_segments, split_sms(text)))


def _segments(message: str) -> int:
    if set(message) <= _BASIC | _EXTENDED:
        size, alone, each = len(message) + sum(character in _EXTENDED for character in message), GSM_ALONE, GSM_EACH
    else:
        size, alone, each = size_units(message), UCS2_ALONE, UCS2_EACH
    return 1 if size <= alone else -(-size // each)
