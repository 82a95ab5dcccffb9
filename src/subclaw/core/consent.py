"""Consent: what a person says of being written to at all, in channels where the law or the provider makes it binding.

Facts: https://help.twilio.com/articles/223134027 (Twilio's default words), https://business.whatsapp.com/policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

OPT_OUT_WORDS = frozenset("STOP STOPALL UNSUBSCRIBE CANCEL END QUIT REVOKE OPTOUT".split())
OPT_IN_WORDS = frozenset({"START", "UNSTOP"})
OPT_IN_IF_OUT = "YES"
"""It is an answer like any other of somebody who has not opted out."""
HELP_WORDS = frozenset({"HELP", "INFO"})

OPTED_OUT = "You will get no more messages here. Text START to get them again."
OPTED_IN = "You get messages here again. Text STOP to end them."
HELP = "This is an agent of your own: say in a sentence what you would like. Text STOP to get no more messages here."


class Said(StrEnum):
    """What one of the words means."""

    OUT = "out"
    IN = "in"
    IN_IF_OUT = "in if out"
    HELP = "help"


@dataclass(frozen=True, kw_only=True)
class Law:
    """How a kind of channel takes these words. If its `provider_answers`, whoever else does breaks its rules."""

    provider_answers: bool


LAWS: Mapping[str, Law] = {
    "sms": Law(provider_answers=True),
    "whatsapp": Law(provider_answers=False),
    "imessage": Law(provider_answers=False),
    "email": Law(provider_answers=False),
}
"""Where the words are binding, by the names of kinds. Elsewhere they are words: `stop` ends what an agent is doing."""


def what_is_said(channel: str, text: str) -> Said | None:
    """Return what a message says of consent, if it is one of the words and nothing else, in a channel with a law."""
    word = text.strip().upper()
    if channel not in LAWS:
        return None
    if word in OPT_OUT_WORDS:
        return Said.OUT
    if word in OPT_IN_WORDS:
        return Said.IN
    if word == OPT_IN_IF_OUT:
        return Said.IN_IF_OUT
    return Said.HELP if word in HELP_WORDS else None
