"""What WhatsApp reports: messages and receipts, parsed strictly and without its library.

Facts: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages. One
webhook may hold many reports, of several numbers.
"""

import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from subclaw.channels.members import object_of, objects_of, read_object, text_of
from subclaw.channels.whatsapp.errors import delivery_of, loss
from subclaw.core.channel import Address, Attachment, Delivery, DeliveryReport, InboundMessage
from subclaw.core.errors import Invalid
from subclaw.core.tenant import TenantId

CHANNEL = "whatsapp"
_NUMBER = re.compile(r"[1-9][0-9]{5,14}")
_HIDDEN = re.compile(r"[A-Z]{2}\.[0-9]{1,128}")
"""Meta says that letters may be in it, and shows none; its library takes such an id for a group's."""

_MESSAGE_ID = re.compile(r"wamid\.[!-~]{1,500}")
_TRACKER = re.compile(r"([0-9]{1,18})/([0-9]{1,18})/([0-9]{1,9})")
_FILES = ("image", "video", "document", "audio", "sticker")
_SILENT = frozenset({"reaction", "system", "edit", "revoke", "request_welcome"})
_TIME = re.compile(r"[0-9]{9,10}")

CANNOT_READ = "I can't read that here. Tell me in words what you would like."


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A message that cannot be handed in; `words` are for who wrote it."""

    sender: Address
    words: str = CANNOT_READ


Report = InboundMessage | DeliveryReport | Unreadable


def tracker(tenant_id: TenantId, reply_id: int, part: int) -> str:
    """Return what WhatsApp is given with a message, and gives back with its receipts."""
    return f"{tenant_id}/{reply_id}/{part}"


def read_update(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a webhook. Errors: `Invalid`."""
    update = read_object(body)
    if update is None or not isinstance(update.get("entry"), list):
        raise Invalid("That is no webhook of WhatsApp's.")
    return update


def parse_update(update: Mapping[str, Any], phone_number_id: str) -> Iterator[Report]:
    """Yield what is reported of one of the operator's numbers. What is not understood is left out."""
    for entry in objects_of(update, "entry"):
        for change in objects_of(entry, "changes"):
            value = object_of(change, "value")
            if change.get("field") == "messages" and _of_number(value, phone_number_id):
                for message in objects_of(value, "messages"):
                    yield from _message(message)
                for status in objects_of(value, "statuses"):
                    yield from _receipt(status)


def _of_number(value: Mapping[str, Any], phone_number_id: str) -> bool:
    return object_of(value, "metadata").get("phone_number_id") == phone_number_id


def _message(message: Mapping[str, Any]) -> Iterator[InboundMessage | Unreadable]:
    person, message_id, kind = _person(message), text_of(message, "id"), text_of(message, "type")
    if not person or not _MESSAGE_ID.fullmatch(message_id) or kind in _SILENT:
        return
    if "group_id" in message:  # a group is only ever made by the business, and is none of ours
        return
    sender = Address(channel=CHANNEL, address=person)
    text, attachments = _words(message, kind), tuple(_attachments(message, kind))
    if not text and not attachments:
        yield Unreadable(sender=sender)
        return
    yield InboundMessage(
        sender=sender,
        provider_id=message_id,
        text=text,
        received_at=_time(message),
        attachments=attachments,
    )


def _person(message: Mapping[str, Any]) -> str:
    """Return who wrote: WhatsApp's id of them, which stays when they hide or show their number; else their number."""
    hidden, number = text_of(message, "from_user_id"), text_of(message, "from")
    if _HIDDEN.fullmatch(hidden):
        return hidden
    return number if _NUMBER.fullmatch(number) else ""


def _time(message: Mapping[str, Any]) -> datetime:
    """Return when it was written, which may be days ago; the window counts from then."""
    now, given = datetime.now(UTC), text_of(message, "timestamp")
    return min(datetime.fromtimestamp(int(given), UTC), now) if _TIME.fullmatch(given) else now


def _words(message: Mapping[str, Any], kind: str) -> str:
    match kind:
        case "text":
            return text_of(object_of(message, "text"), "body").strip()
        case "button":
            return text_of(object_of(message, "button"), "text").strip()
        case "interactive":
            chosen = object_of(message, "interactive")
            reply = object_of(chosen, "button_reply") or object_of(chosen, "list_reply")
            return text_of(reply, "title").strip()
        case "location":
            return _place(object_of(message, "location"))
        case "contacts":
            return "\n".join(_contact(contact) for contact in objects_of(message, "contacts")[:10])
        case _ if kind in _FILES:
            return text_of(object_of(message, kind), "caption").strip()
    return ""


def _place(place: Mapping[str, Any]) -> str:
    match place:
        case {"latitude": int() | float() as latitude, "longitude": int() | float() as longitude}:
            name = text_of(place, "name")
            return f"[A place on the map: {f'{name}, ' if name else ''}{latitude}, {longitude}]"
    return ""


def _contact(contact: Mapping[str, Any]) -> str:
    name = text_of(object_of(contact, "name"), "formatted_name")
    numbers = [text_of(phone, "phone") for phone in objects_of(contact, "phones")[:5]]
    return f"[A contact: {', '.join(filter(None, (name, *numbers)))}]"


def _attachments(message: Mapping[str, Any], kind: str) -> Iterator[Attachment]:
    file = object_of(message, kind) if kind in _FILES else {}
    handle = text_of(file, "id")
    if not re.fullmatch(r"[0-9]{1,64}", handle):
        return
    media_type = text_of(file, "mime_type").partition(";")[0].strip()
    word = "voice" if file.get("voice") is True else kind
    ending = mimetypes.guess_extension(media_type) or ".bin"
    name = text_of(file, "filename") or f"{word}-{handle[-6:]}{ending}"
    yield Attachment(name=name, media_type=media_type, handle=handle)


def _receipt(status: Mapping[str, Any]) -> Iterator[DeliveryReport]:
    """Yield what is told of a message of ours. What says nothing new, or is not about a reply, is left out."""
    message_id, delivery = text_of(status, "id"), delivery_of(text_of(status, "status"))
    told = _TRACKER.fullmatch(text_of(status, "biz_opaque_callback_data"))
    if delivery is None or told is None or not _MESSAGE_ID.fullmatch(message_id):
        return
    tenant_id, reply_id, part = map(int, told.groups())
    errors = objects_of(status, "errors")
    yield DeliveryReport(
        tenant_id=TenantId(tenant_id),
        reply_id=reply_id,
        part=part,
        provider_id=message_id,
        delivery=delivery,
        detail=loss(errors[0].get("code") if errors else None) if delivery is Delivery.FAILED else "",
    )
