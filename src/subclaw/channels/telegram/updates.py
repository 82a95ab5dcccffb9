"""What Telegram reports: updates, parsed strictly and without its library, which the web process has no need of.

Facts: https://core.telegram.org/bots/api#update, https://core.telegram.org/bots/api#message. Offsets are in UTF-16
units.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from subclaw.channels.members import object_of, read_object, text_of
from subclaw.core.channel import Address, Attachment, InboundMessage
from subclaw.core.errors import Invalid

CHANNEL = "telegram"
_FILES = ("document", "voice", "audio", "video", "video_note", "animation")
_ENDINGS = {"voice": ("voice", "ogg"), "audio": ("audio", "mp3"), "video": ("video", "mp4")}
_ENDINGS |= {"video_note": ("video", "mp4"), "animation": ("animation", "mp4"), "document": ("document", "bin")}


@dataclass(frozen=True, kw_only=True)
class NotForUs:
    """An update that nothing follows from: `words`, if there are any, are for whoever wrote."""

    chat_id: int = 0
    words: str = ""


def read_update(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of an update. Errors: `Invalid`."""
    update = read_object(body)
    if update is None or not _is_number(update.get("update_id")):
        raise Invalid("That is no update of Telegram's.")
    return update


def parse_update(update: Mapping[str, Any], bot: str) -> InboundMessage | NotForUs:
    """Return the message in an update: one that a person wrote to the bot, or in a group and to the bot."""
    message = update.get("message")
    if not isinstance(message, dict):
        return NotForUs()
    chat, sender = object_of(message, "chat"), object_of(message, "from")
    chat_id, message_id = chat.get("id"), message.get("message_id")
    if not isinstance(chat_id, int) or not _is_number(chat_id) or not _is_number(message_id):
        return NotForUs()
    if sender.get("is_bot") is not False:
        return NotForUs()
    is_group = chat.get("type") in ("group", "supergroup")
    if not is_group and chat.get("type") != "private":
        return NotForUs()
    if is_group and not is_addressed(message, bot):
        return NotForUs()
    text, attachments = _words(message, bot), tuple(_attachments(message))
    if not text and not attachments:
        if is_group and not _said(message)[0]:
            return NotForUs()  # somebody joined, a picture of the group was changed
        return NotForUs(chat_id=chat_id, words="I can't read that here. Tell me in words what you would like.")
    return InboundMessage(
        sender=Address(channel=CHANNEL, address=str(chat_id)),
        provider_id=f"{bot}:{update['update_id']}",
        text=text,
        received_at=datetime.now(UTC),
        speaker=(_name(sender) or "somebody") if is_group else "",
        attachments=attachments,
    )


def is_addressed(message: Mapping[str, Any], bot: str) -> bool:
    """Say whether a message in a group is for the bot: it is named in it, answered, or given a command."""
    text, entities = _said(message)
    for kind, word, user in _entities(text, entities):
        if kind == "mention" and word.casefold() == f"@{bot}".casefold():
            return True
        if kind == "text_mention" and _is_bot(user, bot):
            return True
        if kind == "bot_command":
            _, _, name = word.partition("@")
            if not name or name.casefold() == bot.casefold():
                return True
    return _is_bot(object_of(object_of(message, "reply_to_message"), "from"), bot)


def _said(message: Mapping[str, Any]) -> tuple[str, list[Any]]:
    for text, entities in (("text", "entities"), ("caption", "caption_entities")):
        if isinstance(message.get(text), str):
            found = message.get(entities)
            return message[text], found if isinstance(found, list) else []
    return "", []


def _entities(text: str, entities: list[Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield each entity's type, the words that it is about, and its user if it has one."""
    units = text.encode("utf-16-le", "surrogatepass")
    for entity in entities[:100]:
        match entity:
            case {"type": str(kind), "offset": int(offset), "length": int(length)} if offset >= 0 < length:
                word = units[2 * offset : 2 * (offset + length)].decode("utf-16-le", "replace")
                yield kind, word, object_of(entity, "user")


def _words(message: Mapping[str, Any], bot: str) -> str:
    """Return what was said, without the bot's name where it only calls it."""
    text, _ = _said(message)
    if not text:
        return _other_words(message)
    name = re.escape(f"@{bot}")
    text = re.sub(rf"\A(/[A-Za-z0-9_]+){name}\b", r"\1", text, flags=re.IGNORECASE)
    return re.sub(rf"\A\s*{name}\b[\s,:]*", "", text, flags=re.IGNORECASE).strip()


def _other_words(message: Mapping[str, Any]) -> str:
    """Return what is said without words."""
    place, contact = object_of(message, "location"), object_of(message, "contact")
    match place:
        case {"latitude": int() | float() as latitude, "longitude": int() | float() as longitude}:
            return f"[A place on the map: {latitude}, {longitude}]"
    if isinstance(contact.get("phone_number"), str):
        return f"[A contact: {_name(contact)}, {contact['phone_number']}]"
    emoji = object_of(message, "sticker").get("emoji")
    return emoji if isinstance(emoji, str) else ""


def _attachments(message: Mapping[str, Any]) -> Iterator[Attachment]:
    message_id = message["message_id"]
    photos = message.get("photo")
    sizes = [one for one in photos if isinstance(one, dict)] if isinstance(photos, list) else []
    if sizes:  # the same picture in several sizes
        largest = max(sizes, key=lambda one: one["file_size"] if _is_number(one.get("file_size")) else 0)
        yield from _attachment(largest, f"photo-{message_id}.jpg", "image/jpeg")
        return
    for kind in _FILES:
        if file := object_of(message, kind):
            word, ending = _ENDINGS[kind]
            yield from _attachment(file, f"{word}-{message_id}.{ending}", "")
            return  # an animation is a document too


def _attachment(file: Mapping[str, Any], name: str, media_type: str) -> Iterator[Attachment]:
    handle, size_bytes = file.get("file_id"), file.get("file_size")
    if isinstance(handle, str) and 0 < len(handle) <= 512:
        yield Attachment(
            name=text_of(file, "file_name") or name,
            media_type=text_of(file, "mime_type") or media_type,
            size_bytes=size_bytes if _is_number(size_bytes) else None,
            handle=handle,
        )


def _name(user: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (text_of(user, "first_name"), text_of(user, "last_name")))) or text_of(
        user, "username"
    )


def _is_bot(user: Mapping[str, Any], bot: str) -> bool:
    return text_of(user, "username").casefold() == bot.casefold()


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
