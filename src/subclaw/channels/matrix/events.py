"""What a homeserver reports: events of rooms, parsed strictly.

Facts: https://spec.matrix.org/v1.16/client-server-api/#instant-messaging. Events come from other people's servers too,
and may hold anything.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from subclaw.channels.matrix.settings import CHANNEL
from subclaw.channels.members import object_of, text_of
from subclaw.core.channel import Address, Attachment, InboundMessage

_USER = re.compile(r"@[!-9;-~]{1,200}:[A-Za-z0-9.:\[\]-]{1,230}")
_ROOM = re.compile(r"![!-~]{1,254}")
_EVENT = re.compile(r"\$[!-~]{1,254}")
_FILE = re.compile(r"mxc://([A-Za-z0-9.:\[\]-]{1,230})/([A-Za-z0-9_-]{1,255})")
_KEY = re.compile(r"[A-Za-z0-9+/=_-]{1,100}")
_FILES = frozenset({"m.image", "m.file", "m.audio", "m.video"})
_WORDS = frozenset({"m.text", "m.emote", "m.location"})
_TIME_LIMIT_MS = 10**14
_ENCRYPTED = "m.room.encrypted"
NAME_LIMIT_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True)
class Said:
    """Something that a person said in a room.

    `mentions` are Matrix ids, None if the sender's end does not say; `answers` is the event that it is a reply to, and
    `quoted` whom that one is from, if this is said. `formatted` is HTML, for what it names people by.
    """

    event_id: str
    sender: str
    at: datetime
    text: str
    formatted: str = ""
    mentions: frozenset[str] | None = None
    answers: str = ""
    quoted: str = ""
    attachments: tuple[Attachment, ...] = ()


def is_room(value: object) -> bool:
    """Say whether a value is a room's id."""
    return isinstance(value, str) and _ROOM.fullmatch(value) is not None


def is_user(value: object) -> bool:
    """Say whether a value is a person's Matrix id."""
    return isinstance(value, str) and _USER.fullmatch(value) is not None


def is_encrypted(event: Mapping[str, Any]) -> bool:
    """Say whether an event is one that nobody has decrypted."""
    return event.get("type") == _ENCRYPTED


def time_of(event: Mapping[str, Any]) -> datetime:
    """Return when something was said, as the server of who said it has it; now, if that is later or cannot be read."""
    at_ms, now = event.get("origin_server_ts"), datetime.now(UTC)
    if not isinstance(at_ms, int) or isinstance(at_ms, bool) or not 0 < at_ms < _TIME_LIMIT_MS:
        return now
    return min(datetime.fromtimestamp(at_ms / 1000, UTC), now)


def read_event(event: Mapping[str, Any], own: str) -> Said | None:
    """Return what a person said; None of anything else: what was said before and is edited, what bots say, our own."""
    event_id, sender, content = event.get("event_id"), event.get("sender"), object_of(event, "content")
    if not (isinstance(event_id, str) and _EVENT.fullmatch(event_id) and is_user(sender) and sender != own):
        return None
    relation, kind = object_of(content, "m.relates_to"), text_of(content, "msgtype")
    is_sticker = event.get("type") == "m.sticker"
    if event.get("type") != "m.room.message" and not is_sticker:
        return None
    if "state_key" in event or relation.get("rel_type") == "m.replace":
        return None
    answers = text_of(object_of(relation, "m.in_reply_to"), "event_id")
    if relation.get("rel_type") == "m.thread" and relation.get("is_falling_back") is True:
        answers = ""
    quoted, body = _without_quote(text_of(content, "body")) if answers else ("", text_of(content, "body"))
    attachments: tuple[Attachment, ...] = ()
    if kind in _FILES:
        attachments = _attachments(content, event_id)
        body = body if "filename" in content and content["filename"] != content.get("body") else ""
    elif kind == "m.emote":
        body = f"*{body.strip()}*" if body.strip() else ""
    elif kind == "m.location":
        body = f"[A place on the map: {text_of(content, 'geo_uri') or body}]"
    elif kind not in _WORDS and not is_sticker:
        return None
    return Said(
        event_id=event_id,
        sender=str(sender),
        at=time_of(event),
        text=body.strip(),
        formatted=text_of(content, "formatted_body"),
        mentions=_mentions(content),
        answers=answers if _EVENT.fullmatch(answers) else "",
        quoted=quoted,
        attachments=attachments,
    )


def is_addressed(said: Said, own: str, name: str) -> bool | None:
    """Say whether what was said in a place is for the agent; None if that depends on whom it is a reply to.

    It is mentioned, named at the start, by its name or its id, or answered.
    """
    if said.mentions is not None and own in said.mentions:
        return True
    if said.mentions is None and re.search(rf'href="https://matrix\.to/#/{re.escape(own)}"', said.formatted):
        return True
    if _called(said.text, own, name) or said.quoted == own:
        return True
    return None if said.answers and not said.quoted else False


def without_name(text: str, own: str, name: str) -> str:
    """Return what was said, without the agent's name where it only calls it."""
    match = _called(text, own, name)
    return (text[match.end() :].lstrip(" ,:;-\n\t") if match else text) or text


def to_inbound(said: Said, room: str, *, is_private: bool, text: str, speaker: str) -> InboundMessage | None:
    """Return the message; None if there is nothing in it. A person is their Matrix id, a place the id of its room."""
    if not text and not said.attachments:
        return None
    return InboundMessage(
        sender=Address(channel=CHANNEL, address=said.sender if is_private else room),
        provider_id=f"{room} {said.event_id}",
        text=text,
        received_at=said.at,
        speaker="" if is_private else speaker[:NAME_LIMIT_CHARACTERS],
        attachments=said.attachments,
    )


def room_of(provider_id: str) -> str:
    """Return the room of a message, by the name that the message has here."""
    return provider_id.partition(" ")[0]


def file_of(handle: str) -> tuple[str, str, Mapping[str, str]]:
    """Return a file's server, its id there, and the keys by which it is decrypted, if it is encrypted."""
    found = json.loads(handle) if handle.startswith("{") else {"url": handle}
    match = _FILE.fullmatch(found["url"])
    assert match is not None  # handles are made below
    return match[1], match[2], {name: found[name] for name in ("key", "iv", "hash") if name in found}


def _called(text: str, own: str, name: str) -> "re.Match[str] | None":
    local = own[1:].partition(":")[0]
    names = "|".join(re.escape(one) for one in (own, f"@{local}", name, local) if one)
    return re.match(rf"\s*@?(?:{names})(?![\w@.:-]*\w)", text, re.IGNORECASE)


def _without_quote(body: str) -> tuple[str, str]:
    """Take off the quote that older clients begin a reply with; return who is quoted, and the reply."""
    lines = body.split("\n")
    if not lines[0].startswith(("> <", "> * <")):
        return "", body
    match = re.match(r"> (?:\* )?<(@[^>]{1,255})>", lines[0])
    rest = next((n for n, line in enumerate(lines) if not line.startswith(">")), len(lines))
    return match[1] if match else "", "\n".join(lines[rest:])


def _mentions(content: Mapping[str, Any]) -> frozenset[str] | None:
    found = content.get("m.mentions")
    if not isinstance(found, dict):
        return None
    users = found.get("user_ids")
    return frozenset(one for one in users[:1000] if isinstance(one, str)) if isinstance(users, list) else frozenset()


def _attachments(content: Mapping[str, Any], event_id: str) -> tuple[Attachment, ...]:
    handle = _handle(content)
    if not handle:
        return ()
    info = object_of(content, "info")
    size_bytes = info.get("size")
    is_size = isinstance(size_bytes, int) and not isinstance(size_bytes, bool) and 0 <= size_bytes < 2**63
    name = text_of(content, "filename") or text_of(content, "body") or "file"
    return (
        Attachment(
            name=name,
            media_type=text_of(info, "mimetype"),
            size_bytes=size_bytes if is_size else None,
            handle=handle,
        ),
    )


def _handle(content: Mapping[str, Any]) -> str:
    if isinstance(content.get("url"), str):
        return content["url"] if _FILE.fullmatch(content["url"]) else ""
    file = object_of(content, "file")
    given = {
        "url": text_of(file, "url"),
        "key": text_of(object_of(file, "key"), "k"),
        "iv": text_of(file, "iv"),
        "hash": text_of(object_of(file, "hashes"), "sha256"),
    }
    are_keys = all(_KEY.fullmatch(given[one]) for one in ("key", "iv", "hash"))
    return json.dumps(given) if _FILE.fullmatch(given["url"]) and are_keys else ""
