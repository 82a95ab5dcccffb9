"""What BlueBubbles reports: messages, parsed strictly.

Facts: https://docs.bluebubbles.app/server/developer-guides/simple-web-server-for-webhooks,
https://documenter.getpostman.com/view/765844/UV5RnfwM. A chat is named by its service, `-` or `+` for one or several
people, and its identifier: `iMessage;-;+15551234567`, `iMessage;+;chat123456789`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from subclaw.channels.members import object_of, objects_of, read_object, text_of
from subclaw.core.channel import Address, Attachment, InboundMessage
from subclaw.core.errors import Invalid

CHANNEL = "imessage"
_MESSAGE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,99}")
_FILE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{3,199}")
_CHAT = re.compile(r"(iMessage|any);([-+]);([!-:<-~]{3,200})")
_PLACE_OF_FILE = "\ufffc"
_GROUP = re.compile(r"chat[0-9]{3,40}")
_TIME_LIMIT_MS = 10**14
FILES_LIMIT = 100
"""Most files of one message that are looked at."""


def read_report(body: bytes) -> Mapping[str, Any]:
    """Return the message that a webhook is about; empty if it is about something else. Errors: `Invalid`."""
    report = read_object(body)
    if report is None or not isinstance(report.get("type"), str):
        raise Invalid("That is no webhook of BlueBubbles'.")
    return object_of(report, "data") if report["type"] == "new-message" else {}


def parse_message(data: Mapping[str, Any], name: str) -> InboundMessage | None:
    """Return what a person wrote to the account, or in a group and to `name`; None of anything else."""
    message_id, chat = text_of(data, "guid"), _chat(data)
    if data.get("isFromMe") is not False or not _MESSAGE_ID.fullmatch(message_id) or chat is None:
        return None
    if data.get("associatedMessageGuid") or data.get("itemType", 0) != 0:  # a heart on a message, somebody who joined
        return None
    is_group = is_group_chat(chat)
    speaker = text_of(object_of(data, "handle"), "address")
    text = text_of(data, "text").replace(_PLACE_OF_FILE, "").strip()
    if is_group and not is_addressed(text, name):
        return None
    attachments = tuple(one for file in objects_of(data, "attachments")[:FILES_LIMIT] if (one := _attachment(file)))
    if not text and not attachments:
        return None
    return InboundMessage(
        sender=Address(channel=CHANNEL, address=chat),
        provider_id=message_id,
        text=text,
        received_at=_time(data),
        speaker=speaker if is_group else "",
        attachments=attachments,
    )


def is_addressed(text: str, name: str) -> bool:
    """Say whether a message in a group is for the agent: it begins with its name, or has it after an at sign."""
    if not name:
        return False
    called = re.escape(name)
    return re.search(rf"\A{called}(?!\w)|(?<!\w)@{called}(?!\w)", text, re.IGNORECASE) is not None


def is_group_chat(address: str) -> bool:
    """Say whether an address is a group's identifier."""
    return _GROUP.fullmatch(address) is not None


def chat_of(address: str, service: str) -> str:
    """Return what BlueBubbles calls the chat of an address."""
    return f"{service};{'+' if is_group_chat(address) else '-'};{address}"


def _chat(data: Mapping[str, Any]) -> str | None:
    """Return who writes, or the group; None where it comes as a text message of a phone, under other rules."""
    for chat in objects_of(data, "chats"):
        if match := _CHAT.fullmatch(text_of(chat, "guid")):
            return match[3] if (match[2] == "+") == is_group_chat(match[3]) else None
    return None


def _attachment(file: Mapping[str, Any]) -> Attachment | None:
    handle, size_bytes = text_of(file, "guid"), file.get("totalBytes")
    if not _FILE_ID.fullmatch(handle):
        return None
    return Attachment(
        name=text_of(file, "transferName") or "file",
        media_type=text_of(file, "mimeType"),
        size_bytes=size_bytes if isinstance(size_bytes, int) and 0 <= size_bytes < 2**63 else None,
        handle=handle,
    )


def created_at(data: Mapping[str, Any]) -> datetime | None:
    """Return when a message was written, if that can be read."""
    at_ms = data.get("dateCreated")
    if not isinstance(at_ms, int) or isinstance(at_ms, bool) or not 0 < at_ms < _TIME_LIMIT_MS:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _time(data: Mapping[str, Any]) -> datetime:
    now = datetime.now(UTC)
    return min(created_at(data) or now, now)
