"""iMessage: replies out, files in and out, typing, and asking the Mac what it has sent.

Facts: https://documenter.getpostman.com/view/765844/UV5RnfwM. Typing, and sending without AppleScript, want
BlueBubbles' Private API on the Mac; where it is not on, nothing is shown.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from subclaw.channels.imessage.errors import loss, loss_of, refused
from subclaw.channels.imessage.messages import chat_of, created_at
from subclaw.channels.imessage.server import Answer, BlueBubbles, BrokenOff, NotSent
from subclaw.channels.imessage.settings import IMessageSettings
from subclaw.channels.markdown import plain, split_markdown
from subclaw.core.attachment import safe_name
from subclaw.core.channel import (
    Address,
    Delivery,
    NotSeen,
    NotTold,
    OutboundFile,
    OutboundMessage,
    Seen,
    SendResult,
    Sighting,
    Trouble,
)
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.outgoing import UPLOAD_LIMIT_BYTES

PART_LIMIT = 4_000
"""What a part has at most, in UTF-16 units: iMessage takes more, and nobody reads it."""

CLOCK_MARGIN = timedelta(minutes=5)
HELPER_KNOWN_S = 300.0
"""How long it is believed that the Private API is on, or is not."""

LISTED_LIMIT = 200


class IMessageChannel:
    """The way out by iMessage. An address is a person's number or e-mail address, or a group's identifier."""

    name = "imessage"

    def __init__(self, server: BlueBubbles, settings: IMessageSettings) -> None:
        self._server = server
        self._settings = settings
        self._helper: tuple[bool, float] = (False, float("-inf"))

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into messages."""
        return split_markdown(text, PART_LIMIT)

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a message. BlueBubbles takes none that it is sending already; of others, see `find`."""
        given = {"message": _words(message)}
        return await self._send(message, lambda named: self._server.ask("POST", "/message/text", {**named, **given}))

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether iMessage takes such a file: any, up to 100 MB, of which the way there takes less."""
        return size_bytes <= UPLOAD_LIMIT_BYTES

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send a file, without its title: a message that is a file has no words of its own."""
        name = _file_name(message)
        return await self._send(message, lambda named: self._server.upload("/message/attachment", named, name, file))

    async def _send(
        self, message: OutboundMessage, ask: Callable[[Mapping[str, str]], Awaitable[Answer]]
    ) -> SendResult:
        try:
            named = {
                "chatGuid": self._chat(message.to),
                "tempGuid": f"subclaw-{message.tenant_id}-{message.reply_id}-{message.part}",
                "method": "private-api" if await self._has_helper() else "apple-script",
            }
            answer = await ask(named)
        except NotSent as error:
            return SendResult(delivery=Delivery.FAILED, detail=str(error), trouble=Trouble.NETWORK)
        except (BrokenOff, Invalid) as error:
            return SendResult(delivery=Delivery.UNKNOWN, detail=str(error))
        sent = answer.data if isinstance(answer.data, dict) else {}
        if answer.status >= 300 or loss_of(sent):
            return refused(answer) if answer.status >= 300 else _lost(loss_of(sent))
        if not isinstance(sent.get("guid"), str):
            return SendResult(delivery=Delivery.UNKNOWN, detail="BlueBubbles' answer was not understood")
        return SendResult(delivery=Delivery.SENT, provider_id=sent["guid"])

    async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
        """Look for a message among those that the Mac has sent to this chat: by its words, and the time."""
        after = since - CLOCK_MARGIN
        given = {
            "chatGuid": self._chat(message.to),
            "after": int(after.timestamp() * 1000),
            "limit": LISTED_LIMIT,
            "sort": "ASC",
            "with": ["attachment"] if message.file else [],
        }
        try:
            answer = await self._server.ask("POST", "/message/query", given)
        except (NotSent, BrokenOff, Invalid):
            return NotTold(detail="BlueBubbles cannot be asked what it has sent")
        if answer.status != 200 or not isinstance(answer.data, list):
            return NotTold(detail=f"BlueBubbles does not say what it has sent (HTTP {answer.status})")
        for one in answer.data:
            if isinstance(one, dict) and _is_sent(one, message, after) and one["guid"] not in known:
                return _seen(one)
        if len(answer.data) == LISTED_LIMIT:
            return NotTold(detail="the Mac has too many messages of this chat to look through")
        return NotSeen()

    async def typing(self, to: Address) -> None:
        """Show that the agent is at work, and that what was written was read, where the Mac can."""
        with contextlib.suppress(NotSent, BrokenOff, Invalid):
            if await self._has_helper():
                chat = quote(self._chat(to), safe="")
                await self._server.ask("POST", f"/chat/{chat}/read")
                await self._server.ask("POST", f"/chat/{chat}/typing")

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file that came with a message."""
        return await self._server.fetch(f"/attachment/{quote(handle, safe='')}/download", limit_bytes)

    async def check(self) -> str:
        """Ask BlueBubbles about itself, and say in words what it answered. Errors: `Unavailable`."""
        try:
            answer = await self._server.ask("GET", "/server/info")
        except (NotSent, BrokenOff, Invalid) as error:
            raise Unavailable("BlueBubbles cannot be asked.", internal=str(error)) from None
        if answer.status != 200 or not isinstance(answer.data, dict):
            raise Unavailable(f"BlueBubbles: {refused(answer).detail}.")
        helper = "on" if _helper_in(answer) else "off, so typing is not shown"
        return f"BlueBubbles {answer.data.get('server_version', '')} answers; its Private API is {helper}"

    async def _has_helper(self) -> bool:
        """Say whether the Private API is on. Errors: `NotSent`; whatever else goes wrong, it is taken to be off."""
        now_s = asyncio.get_running_loop().time()
        known, at_s = self._helper
        if now_s - at_s > HELPER_KNOWN_S:
            try:
                known = _helper_in(await self._server.ask("GET", "/server/info"))
            except BrokenOff:
                return False
            self._helper = (known, now_s)
        return known

    def _chat(self, to: Address) -> str:
        return chat_of(to.address, self._settings.service)


def _helper_in(answer: Answer) -> bool:
    data = answer.data if isinstance(answer.data, dict) else {}
    return data.get("private_api") is True and data.get("helper_connected") is True


def _is_sent(listed: dict[str, Any], message: OutboundMessage, after: datetime) -> bool:
    at = created_at(listed)
    return (
        listed.get("isFromMe") is True
        and isinstance(listed.get("guid"), str)
        and _has_what(listed, message)
        and at is not None
        and at >= after
    )


def _has_what(listed: dict[str, Any], message: OutboundMessage) -> bool:
    """Say whether what the Mac has sent has the words of a message, or its file by the name that was given to it."""
    if message.file is None:
        return isinstance(listed.get("text"), str) and listed["text"].strip() == _words(message)
    files = listed.get("attachments")
    names = [file.get("transferName") for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    return _file_name(message) in names


def _words(message: OutboundMessage) -> str:
    return plain(message.text).strip() or message.text


def _file_name(message: OutboundMessage) -> str:
    return safe_name(message.file.name) if message.file else ""


def _seen(message: dict[str, Any]) -> Seen:
    if number := loss_of(message):
        return Seen(provider_id=message["guid"], delivery=Delivery.FAILED, detail=loss(number))
    arrived = message.get("dateDelivered") or message.get("dateRead")
    return Seen(provider_id=message["guid"], delivery=Delivery.DELIVERED if arrived else Delivery.SENT)


def _lost(number: int) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail=loss(number))
