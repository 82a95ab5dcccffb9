"""iMessage: replies out, files in, typing, and asking the Mac what it has sent.

Facts: https://documenter.getpostman.com/view/765844/UV5RnfwM. Typing, and sending without AppleScript, want
BlueBubbles' Private API on the Mac; where it is not on, nothing is shown.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from subclaw.channels.imessage.errors import loss, loss_of, refused
from subclaw.channels.imessage.messages import chat_of, created_at
from subclaw.channels.imessage.server import Answer, BlueBubbles, BrokenOff, NotSent
from subclaw.channels.imessage.settings import IMessageSettings
from subclaw.channels.markdown import plain, split_markdown
from subclaw.core.channel import (
    Address,
    Delivery,
    NotSeen,
    NotTold,
    OutboundMessage,
    Seen,
    SendResult,
    Sighting,
    Trouble,
)
from subclaw.core.errors import Invalid, Unavailable

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
        try:
            with_helper = await self._has_helper()
            given = {
                "chatGuid": self._chat(message.to),
                "tempGuid": f"subclaw-{message.tenant_id}-{message.reply_id}-{message.part}",
                "message": plain(message.text).strip() or message.text,
                "method": "private-api" if with_helper else "apple-script",
            }
            answer = await self._server.ask("POST", "/message/text", given)
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
            "with": [],
        }
        try:
            answer = await self._server.ask("POST", "/message/query", given)
        except (NotSent, BrokenOff, Invalid):
            return NotTold(detail="BlueBubbles cannot be asked what it has sent")
        if answer.status != 200 or not isinstance(answer.data, list):
            return NotTold(detail=f"BlueBubbles does not say what it has sent (HTTP {answer.status})")
        words = plain(message.text).strip() or message.text
        for one in answer.data:
            if isinstance(one, dict) and _is_sent(one, words, after) and one["guid"] not in known:
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


def _is_sent(message: dict[str, Any], words: str, after: datetime) -> bool:
    at = created_at(message)
    return (
        message.get("isFromMe") is True
        and isinstance(message.get("guid"), str)
        and isinstance(message.get("text"), str)
        and message["text"].strip() == words
        and at is not None
        and at >= after
    )


def _seen(message: dict[str, Any]) -> Seen:
    if number := loss_of(message):
        return Seen(provider_id=message["guid"], delivery=Delivery.FAILED, detail=loss(number))
    arrived = message.get("dateDelivered") or message.get("dateRead")
    return Seen(provider_id=message["guid"], delivery=Delivery.DELIVERED if arrived else Delivery.SENT)


def _lost(number: int) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail=loss(number))
