"""Control words: messages that subclaw itself understands, below the agent, wherever nothing else is said with them."""

import re
from dataclasses import dataclass
from enum import StrEnum

from subclaw.core.business import SESSION_CHANNEL
from subclaw.core.consent import Said, what_is_said
from subclaw.core.linking import read_code


@dataclass(frozen=True, kw_only=True)
class LinkWanted:
    """The person wants to link another channel."""


@dataclass(frozen=True, kw_only=True)
class UnlinkWanted:
    """The person wants to unlink a channel, or to see which there are."""

    number: int | None


@dataclass(frozen=True, kw_only=True)
class CodeSaid:
    """The message is a code by which a channel is linked."""

    code: str


class SiteWish(StrEnum):
    """What a person wants of their site's versions. `UNDO_LAST` is that only if the agent has just published."""

    HISTORY = "history"
    UNDO = "undo"
    UNDO_LAST = "undo last"
    REDO = "redo"


Control = LinkWanted | UnlinkWanted | CodeSaid | SiteWish | Said

CONTROLS_PER_MINUTE = 10
"""Most such messages of one sender in a minute; of more, only what they say of consent is heeded."""

_SITE_WORDS = {
    "site history": SiteWish.HISTORY,
    "undo site": SiteWish.UNDO,
    "site undo": SiteWish.UNDO,
    "undo": SiteWish.UNDO_LAST,
    "redo site": SiteWish.REDO,
    "site redo": SiteWish.REDO,
}
_WORDS = re.compile(r"/?(link|unlink)(?:\s+([0-9]{1,6}))?[.!]?", re.IGNORECASE | re.ASCII)


def read_control(channel: str, text: str) -> Control | None:
    """Return what a message says to subclaw, or None if it is for the agent.

    Only the words and nothing else count: `link`, `/unlink 2`, `K7MQ-4XWP`, `site history`; `STOP` where it is binding.
    Customers of an agent's owner have nothing of the kind: whatever they say is for the agent.
    """
    if channel == SESSION_CHANNEL:
        return None
    if said := what_is_said(channel, text):
        return said
    if found := _WORDS.fullmatch(text.strip()):
        is_link, number = found[1].lower() == "link", found[2]
        if is_link:
            return None if number else LinkWanted()
        return UnlinkWanted(number=int(number) if number else None)
    if wish := _SITE_WORDS.get(" ".join(text.lower().strip(" /.!").split())):
        return wish
    code = read_code(text)
    return CodeSaid(code=code) if code else None
