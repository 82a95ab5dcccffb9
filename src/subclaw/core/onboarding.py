"""Onboarding: who may come in, what the first words of a stranger are taken for, and what is answered below the agent.

Nothing here asks a model. A stranger has a tenant, a name and a live address with their first message; the question
for another name never holds up what they asked for.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from subclaw.core.channel import Address
from subclaw.core.tenant import Chooser

INVITE_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""32 characters, none of which is taken for another one when it is read out."""

INVITE_GROUPS, INVITE_GROUP_CHARACTERS = 3, 4
CODES_LIMIT = 3
"""Most codes that are looked for in one message."""

NAME_LIMIT_CHARACTERS = 60
"""Longest text that is taken for a name."""

_GROUP = f"[2-9][{INVITE_ALPHABET}{INVITE_ALPHABET.lower()}]{{{INVITE_GROUP_CHARACTERS - 1}}}"
_INVITE = re.compile(rf"(?<![0-9A-Za-z]){_GROUP}(?:[-\u2013\u2014 ]?{_GROUP}){{{INVITE_GROUPS - 1}}}(?![0-9A-Za-z])")
"""Each group begins with a digit, so that no words are taken for a code."""


class Entry(StrEnum):
    """Who gets an agent: everybody, whoever has an invite code, or whoever is on the list. The list goes with both."""

    OPEN = "open"
    INVITE = "invite"
    LISTED = "listed"


@dataclass(frozen=True, kw_only=True)
class OnboardingSettings:
    """The operator's settings of how strangers come in.

    `allow` are patterns of `channel:address`, such as `sms:+49*`. At most `new_tenants_an_hour` are made. A person has
    `free_messages`, None for as many as they like; `after_free_messages` says in words what to do then. `about` is how
    the greeting says what this is. With `greet` strangers are greeted; with `prepare_machine` a tenant's machine is
    started once, beside the first turn.
    """

    entry: Entry = Entry.OPEN
    allow: tuple[str, ...] = ()
    new_tenants_an_hour: int = 60
    free_messages: int | None = None
    after_free_messages: str = "Ask whoever runs this for more."
    about: str = "I'm an agent with a computer of my own. Tell me what you need, and I build it and put it online."
    greet: bool = True
    prepare_machine: bool = True


class Need(StrEnum):
    """What a stranger needs to come in."""

    NOTHING = "nothing"
    INVITE = "invite"
    LISTING = "listing"


def need_of(settings: OnboardingSettings, address: Address) -> Need:
    """Return what somebody at this address needs."""
    place = f"{address.channel}:{address.address}".casefold()
    listed = any(fnmatchcase(place, pattern.casefold()) for pattern in settings.allow)
    if settings.entry is Entry.OPEN or listed:
        return Need.NOTHING
    return Need.INVITE if settings.entry is Entry.INVITE else Need.LISTING


def new_invite(chooser: Chooser) -> str:
    """Return a code of 54 random bits, in groups that can be typed; each begins with a digit."""
    rest = range(INVITE_GROUP_CHARACTERS - 1)
    groups = (
        chooser.choice("23456789") + "".join(chooser.choice(INVITE_ALPHABET) for _ in rest)
        for _ in range(INVITE_GROUPS)
    )
    return "-".join(groups)


def invite_hash(code: str) -> bytes:
    """Return the SHA-256 of a code, however it is written: that is what is kept of it."""
    return hashlib.sha256(re.sub(r"[\W_]", "", code.upper()).encode()).digest()


def take_invites(text: str) -> tuple[str, tuple[bytes, ...]]:
    """Return a text without what may be invite codes in it, and their hashes."""
    found = [match[0] for match in _INVITE.finditer(text)][:CODES_LIMIT]
    for code in found:
        text = text.replace(code, "", 1)
    return text.strip(), tuple(map(invite_hash, found))


class Hello:
    """Somebody said hello, and nothing else."""


class Agrees:
    """Somebody agrees with what they were asked."""


@dataclass(frozen=True)
class Wish:
    """Somebody wants their site to have a name. One that is `plain` may be any word: it counts only as an answer."""

    text: str
    plain: bool


Said = Hello | Agrees | Wish
"""What a message may be to the platform itself."""

_HELLOS = frozenset(
    """
    hello|hi|hey|hiya|yo|hello there|hi there|hey there|hallo|hola|salut|bonjour|ciao|moin|servus|ola|hej|namaste|start|
    good morning|good evening|good afternoon|good day|guten tag|guten morgen|who is this|what is this|who are you|
    what are you|what can you do|test|testing|ping
    """.replace("\n", "")
    .replace("    ", "")
    .split("|")
)
_AGREEMENTS = frozenset(
    "ok|okay|okey|k|kk|ok thanks|ok thank you|yes|yes please|yep|yeah|y|sure|fine|good|great|perfect|sounds good|"
    "keep it|thats fine|that is fine|👍".split("|")
)
_NOT_NAMES = frozenset(
    "no|nope|nah|thanks|thank|thx|stop|end|quit|cancel|help|info|what|why|how|who|where|when|later|nothing|none|undo|"
    "cool|nice|wow|lol|please|maybe|done|menu|unsubscribe|stopall|unstop|null|name|bye".split("|")
)
_EXPLICIT = re.compile(r"(?:/name\s+|/?(?:site\s+)?name\s*[:=]\s*)(\S.*)", re.IGNORECASE)
_ANSWER = re.compile(r"(?:(?:please\s+)?(?:call|name) it|it'?s|let'?s (?:use|take|call it)|use|take)\s+(\S+)", re.I)
_WORD = re.compile(r"[^\W_][\w'’.-]*[^\W_]")  # noqa: RUF001
_ENDS = " \t.!?,;:'\"“”„»«`"


def heard(text: str) -> Said | None:
    """Return what a message may be to the platform; None for one that can only be for the agent."""
    if len(text) > NAME_LIMIT_CHARACTERS or "\n" in text:
        return None
    text = take_invites(text)[0]
    if found := _EXPLICIT.fullmatch(text):
        return Wish(found[1].strip(_ENDS), plain=False)
    words = text.strip(_ENDS)
    plain = re.sub(r"[^\w\s👍]", "", words).casefold()
    plain = " ".join(plain.split())
    if plain in _HELLOS or not re.search(r"\w|👍", text):
        return Hello()
    if plain in _AGREEMENTS:
        return Agrees()
    found = _ANSWER.fullmatch(words) or _WORD.fullmatch(words)
    return Wish(found[found.lastindex or 0], plain=True) if found and plain not in _NOT_NAMES else None


class Stage(StrEnum):
    """How far a tenant's onboarding is.

    It was just made; it was asked for a name and nothing was said since; it has work to do and may choose a name all
    the same.
    """

    NEW = "new"
    ASKED = "asked"
    OPEN = "open"


def greeting(about: str, url: str) -> str:
    """Return the greeting of somebody who has asked for something: it is under way, and what is theirs."""
    return f'{about}\nYour site is {url} (for another name, text "name:" and a name). I am at work on it.'


def question(about: str, name: str, url: str) -> str:
    """Return the greeting of somebody who has asked for nothing yet, with the one question."""
    return f"{about}\nYou have a site too: {url}\nText a name you like for it, or OK for {name}."


def named(url: str, *, is_answer: bool) -> str:
    """Return the answer to an OK, or to a name that could be had; with `is_answer` it was asked for."""
    return f"Your site is {url} - what shall I make for you?" if is_answer else f"Your site is {url} now."


def near(wished: str, url: str) -> str:
    """Return the answer to an answer that is taken: a name near it is theirs."""
    return f'{wished} is taken, so your site is {url} - for another name, text "name:" and a name.'


def taken(wished: str, name: str) -> str:
    """Return the answer to a wish for a name that is taken, which changes nothing."""
    return f'{wished} is taken. {name} is free: text "name: {name}" for that, or another name.'


def refused(why: str, proposal: str) -> str:
    """Return the answer to a name that cannot be, with one that can."""
    return f'{why} How about {proposal}? Text "name: {proposal}" for that, or another name.'


TOO_OFTEN = "Your site has had a new name several times today. Text me again tomorrow for another."


class Refusal(StrEnum):
    """Why a stranger does not come in."""

    UNINVITED = "uninvited"
    WRONG_CODE = "wrong_code"
    UNLISTED = "unlisted"
    CROWDED = "crowded"


REFUSALS = {
    Refusal.UNINVITED: "This is by invitation for now. If you have an invite code, text it to me.",
    Refusal.WRONG_CODE: "I don't know that invite code, or it has been used. Check it, and text it again.",
    Refusal.UNLISTED: "This number is private, so I can't answer you here.",
    Refusal.CROWDED: "A great many people are just coming in. Please text me again in an hour.",
}
"""What a stranger is told, once."""


def used_up(limit: int, what_to_do: str) -> str:
    """Return what a person is told whose free messages are used up."""
    return f"You have used your {limit} free messages, so I have left this one. {what_to_do}"


def greetings(settings: OnboardingSettings, names: Sequence[str], urls: Sequence[str], *, asks: bool) -> Sequence[str]:
    """Return the greeting for each of the names that may become the tenant's."""
    pairs = zip(names, urls, strict=True)
    return [question(settings.about, name, url) if asks else greeting(settings.about, url) for name, url in pairs]
