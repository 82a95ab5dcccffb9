"""What Slack reports: events, parsed strictly and without its library, which the web process has no need of.

Facts: https://docs.slack.dev/reference/events/message, https://docs.slack.dev/reference/events/app_mention and
https://docs.slack.dev/apis/events-api (the envelope).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from subclaw.channels.members import object_of, read_object, text_of
from subclaw.channels.slack.settings import SlackSettings
from subclaw.channels.slack.words import read_words
from subclaw.core.channel import ATTACHMENTS_LIMIT, Address, Attachment, InboundMessage
from subclaw.core.errors import Invalid

CHANNEL = "slack"
_SAID = frozenset({"", "file_share", "thread_broadcast", "me_message"})
"""Subtypes of messages that a person wrote. The others are edits, deletions, bots, and what Slack tells."""

_NAME_LIMIT_CHARACTERS = 80
_OVER = frozenset({"app_uninstalled", "tokens_revoked"})
_PLACE = re.compile(r"[CDG][A-Z0-9]{2,30}")
_PERSON = re.compile(r"[UW][A-Z0-9]{2,30}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}\.[0-9]{1,6}")
_FILE_PATH = re.compile(r"/files-pri/[A-Za-z0-9._~%!$&'()*+,;=:@/-]{1,500}")


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """Slack asks whether the address is ours."""

    answer: str


@dataclass(frozen=True, kw_only=True)
class NotForUs:
    """An event that nothing follows from; `warning`, if there is one, is for the log."""

    warning: str = ""


def parse_event(body: bytes, settings: SlackSettings) -> InboundMessage | Challenge | NotForUs:
    """Return what Slack reports: a message, if a person wrote it to the bot. Errors: `Invalid`."""
    told = read_object(body)
    if told is None:
        raise Invalid("That is no event of Slack's.")
    match told.get("type"):
        case "url_verification":
            return Challenge(answer=text_of(told, "challenge")[:1_000])
        case "app_rate_limited":
            return NotForUs(warning="Slack leaves events out: there are more than 30,000 in an hour")
        case "event_callback":
            return _parse_callback(told, settings)
        case _:
            return NotForUs()


def _parse_callback(told: Mapping[str, Any], settings: SlackSettings) -> InboundMessage | NotForUs:
    event = object_of(told, "event")
    if text_of(told, "api_app_id") != settings.app or text_of(told, "team_id") != settings.team:
        return NotForUs(warning="an event of another app or workspace (are SLACK_APP_ID and SLACK_TEAM_ID right?)")
    if (kind := text_of(event, "type")) in _OVER:
        return NotForUs(warning=f"Slack says {kind}: it serves the app no more")
    if kind not in ("message", "app_mention") or not _is_persons(event, settings.team):
        return NotForUs()
    bot, place, said_at = _bot(told), text_of(event, "channel"), text_of(event, "ts")
    if not _PLACE.fullmatch(place) or not _TIMESTAMP.fullmatch(said_at) or event.get("user") == bot:
        return NotForUs()
    is_private = place.startswith("D")
    if not is_private and not _is_addressed(event, bot):
        return NotForUs()
    said, thread = text_of(event, "text"), text_of(event, "thread_ts")
    return InboundMessage(
        sender=Address(channel=CHANNEL, address=place, thread=thread if _TIMESTAMP.fullmatch(thread) else ""),
        # The same message may be told by two events: one of the channel's, one of the mention.
        provider_id=f"{settings.team}:{place}:{said_at}",
        text=read_words(said, bot) or read_words(said),
        received_at=datetime.now(UTC),
        speaker="" if is_private else _name(event),
        attachments=tuple(_attachments(event))[:ATTACHMENTS_LIMIT],
    )


def _is_persons(event: Mapping[str, Any], team: str) -> bool:
    """Say whether a person of this workspace wrote it, now and not in an edit.

    In a channel that workspaces share, people of others write too: their workspace's operator is somebody else.
    """
    if text_of(event, "subtype") not in _SAID or event.get("hidden") or "edited" in event:
        return False
    if "bot_id" in event or not _PERSON.fullmatch(text_of(event, "user")):
        return False
    return all(event.get(name) in (None, team) for name in ("user_team", "source_team"))


def _is_addressed(event: Mapping[str, Any], bot: str) -> bool:
    """Say whether what was said in a place of several is for the bot: it is named in it, or it is answered."""
    if event.get("type") == "app_mention":
        return True
    return bool(bot) and (
        event.get("parent_user_id") == bot or bool(re.search(rf"<@{bot}[|>]", text_of(event, "text")))
    )


def _bot(told: Mapping[str, Any]) -> str:
    """Return the bot's user, for whom the event was sent; empty if it is not said."""
    found = told.get("authorizations")
    for one in found if isinstance(found, list) else []:
        if isinstance(one, dict) and one.get("is_bot") and _PERSON.fullmatch(text_of(one, "user_id")):
            return text_of(one, "user_id")
    return ""


def _name(event: Mapping[str, Any]) -> str:
    """Return what a person is called: the name, where Slack says it, or what it shows as the name in what we send."""
    profile = object_of(event, "user_profile")
    names = (text_of(profile, key).strip() for key in ("display_name", "real_name", "name"))
    return next(filter(None, names), f"<@{event['user']}>")[:_NAME_LIMIT_CHARACTERS]


def _attachments(event: Mapping[str, Any]) -> Iterator[Attachment]:
    files = event.get("files")
    for file in files if isinstance(files, list) else []:
        if not isinstance(file, dict):
            continue
        # The address names Slack's host; calls go where the operator says that host is.
        path = urlsplit(text_of(file, "url_private_download") or text_of(file, "url_private")).path
        if file.get("is_external") or not _FILE_PATH.fullmatch(path):
            continue
        size_bytes = file.get("size")
        yield Attachment(
            name=text_of(file, "name") or text_of(file, "title") or "file",
            media_type=text_of(file, "mimetype"),
            size_bytes=size_bytes if isinstance(size_bytes, int) and size_bytes >= 0 else None,
            handle=path,
        )
