"""Linking: one person with several channels. A code that is shown in one of them makes another the same person's.

Whoever has the code proves both: that they read what comes to the first channel, and that they write from the second.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from subclaw.core.channel import Address
from subclaw.core.notification import mask
from subclaw.core.tenant import Chooser

ALPHABET = "34679CDFGHJKMNPQRTVWX"
"""Neither look-alikes (0 O, 1 I L, 2 Z, 5 S, 8 B, U V) nor vowels, so that no word of a language is ever a code."""

CODE_CHARACTERS = 8
CODE_LIFE_S = 600
CODES_AN_HOUR = 5
"""Most codes of one tenant in an hour; each is worth nothing once there is another."""

WRONG_BY_SENDER, WRONG_BY_ALL = 5, 200
"""Most wrong codes within an hour of one sender, and of all together. There are 3.8e10 codes, so even with a thousand
that wait, all guesses of a year hit one with a chance of 5%."""

CHANNELS_LIMIT = 10
"""Most channels of one tenant."""

NOT_A_CODE = (
    'That code is none, or not any more: it holds for ten minutes and works once. Text "link" in the channel that you'
    " have, for a new one."
)
LOCKED = "There were too many wrong codes. Please try again in an hour."
SAME_CHANNEL = "That code is for the other channel: text it from there."
TOO_MANY_CODES = "You have had several codes just now. Please wait an hour before you ask for another."
FULL = f'There are {CHANNELS_LIMIT} channels linked already. Text "unlink" to see them.'
TAKEN = (
    "This channel has an agent of its own already, with things that would be lost, so nothing was linked and nothing"
    " was changed. Go on with it here, or ask whoever runs this to erase it first."
)
UNLINKED_HERE = "This channel is unlinked: your agent does not know you here any more. Text here again to begin anew."
ONLY_ONE = 'This is the only channel that you have, so it stays. Text "link" to add another.'


@dataclass(frozen=True, kw_only=True)
class NumberedWay:
    """A channel of a person's. Its number is never that of another."""

    number: int
    address: Address
    conversation_id: int


def new_code(chooser: Chooser) -> str:
    """Return a code. `chooser` must not be guessable."""
    return "".join(chooser.choice(ALPHABET) for _ in range(CODE_CHARACTERS))


def read_code(text: str) -> str | None:
    """Return the code that a message is, however it is spaced, in whatever case; None if it is none."""
    plain = re.sub(r"[\s.\-\u2010-\u2015]", "", text).upper() if len(text) <= 4 * CODE_CHARACTERS else ""
    return plain if len(plain) == CODE_CHARACTERS and set(plain) <= set(ALPHABET) else None


def show_code(code: str) -> str:
    """Return a code as a person reads it."""
    return f"{code[:4]}-{code[4:]}"


def code_hash(code: str) -> bytes:
    """Return the SHA-256 by which a code is kept."""
    return hashlib.sha256(code.encode()).digest()


def code_words(code: str) -> str:
    """Return what is said with a new code."""
    return (
        f"Text {show_code(code)} from your other channel within ten minutes, and it leads to this agent, too."
        " Whoever has this code gets in, so give it to nobody."
    )


def linked_here_words(tenant_name: str) -> str:
    """Return what is said in a channel that was linked."""
    return f'Linked: here you reach {tenant_name}, as in your other channels. Text "unlink" to see them.'


def linked_words(address: Address) -> str:
    """Return what the other channels are told of one that was linked."""
    return f'Linked: {_name(address)} leads to this agent from now on. If that was not you, text "unlink".'


def unlinked_words(address: Address) -> str:
    """Return what the other channels are told of one that was unlinked."""
    return f"Unlinked: {_name(address)} does not lead to this agent any more."


def list_words(ways: Sequence[NumberedWay], here: Address) -> str:
    """Return a person's channels, numbered."""
    if len(ways) < 2:
        return ONLY_ONE
    lines = [f"{way.number}. {_name(way.address)}{' (this one)' if way.address == here else ''}" for way in ways]
    return "\n".join(["Your channels:", *lines, f'Text "unlink {ways[-1].number}" to remove one.'])


def choose_unlinked(ways: Sequence[NumberedWay], number: int) -> NumberedWay | str:
    """Return the channel to unlink, or in words why there is none."""
    if len(ways) < 2:
        return ONLY_ONE
    found = next((way for way in ways if way.number == number), None)
    return found or f'There is no channel {number}. Text "unlink" to see those that there are.'


def _name(address: Address) -> str:
    return f"{address.channel} {mask(address.address)}"
