"""Discord: replies out, asking it what it was given, files in and out, and typing.

Facts: https://discord.com/developers/docs/resources/message#create-message. Its Markdown is that of replies but for
tables, rules and pictures, which people see as they are written.
"""

import asyncio
import io
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import discord
import httpx2

from subclaw.channels.discord.client import CALL_LIMIT_S, NOT_UNDERSTOOD, DiscordClient
from subclaw.channels.discord.errors import ERRORS, meaning, not_asked, refused, refused_file
from subclaw.channels.discord.settings import FILES_UPSTREAM
from subclaw.channels.downloads import gathered
from subclaw.channels.markdown import split_markdown
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
)
from subclaw.core.errors import NotFound, Unavailable
from subclaw.egress.control.client import BASE_URL, gateway_client

PART_LIMIT = 2000
"""What Discord takes in one message: characters, of which there are never more than UTF-16 units."""

FILE_LIMIT_BYTES = 10 * 1024 * 1024
FORM_LIMIT_BYTES = 4_096
"""What Discord takes with one message wherever nobody pays for more, and what of it is said of the file."""

CLOCK_MARGIN = timedelta(minutes=5)
LISTED_LIMIT = 100


class DiscordChannel:
    """The way out by Discord. An address is a channel's id, a person's own one or a server's; so is its thread."""

    name = "discord"

    def __init__(self, client: DiscordClient, gateway_socket: Path) -> None:
        self._client = client
        self._gateway_socket = gateway_socket

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into messages."""
        return split_markdown(text, PART_LIMIT)

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a message. For some minutes Discord makes no second one of the same nonce; after that, see `find`."""
        return await self._send(message, refused)

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether Discord takes such a file: any, within its limit."""
        return size_bytes <= FILE_LIMIT_BYTES - FORM_LIMIT_BYTES

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send a file, under its title, as a message is sent."""
        content = discord.File(io.BytesIO(file.content), filename=file.name)
        return await self._send(message, refused_file, file=content)

    async def _send(
        self, message: OutboundMessage, refusal: Callable[[Exception], SendResult], **more: Any
    ) -> SendResult:
        try:
            async with asyncio.timeout(CALL_LIMIT_S / 2):
                await self._client.log_in()
        except ERRORS as error:
            return not_asked(error)
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                # Previews of links would have Discord call their hosts before anybody has looked.
                place = self._place(message.to)
                sent = await place.send(message.text, nonce=_nonce(message), suppress_embeds=True, **more)
        except ERRORS as error:
            return refusal(error)
        except NOT_UNDERSTOOD:
            return SendResult(delivery=Delivery.UNKNOWN, detail="Discord's answer was not understood")
        return SendResult(delivery=Delivery.SENT, provider_id=str(sent.id))

    async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
        """Look for a message among the last ones of its channel: by its words, the size of its file, and the time."""
        listed = 0
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                await self._client.log_in()
                async for one in self._place(message.to).history(limit=LISTED_LIMIT, after=since - CLOCK_MARGIN):
                    listed += 1
                    is_ours = self._client.user is not None and one.author.id == self._client.user.id
                    if is_ours and _is_alike(one, message) and str(one.id) not in known:
                        return Seen(provider_id=str(one.id), delivery=Delivery.SENT)
        except ERRORS as error:
            return NotTold(detail=meaning(error))
        except NOT_UNDERSTOOD:
            return NotTold(detail="Discord's answer was not understood")
        return NotSeen() if listed < LISTED_LIMIT else NotTold(detail="too much was said there to look through")

    async def typing(self, to: Address) -> None:
        """Show for ten seconds that the agent is at work."""
        with suppress(*ERRORS):
            await self._client.log_in()
            await self._place(to).typing()

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file that came with a message: its address holds for a day."""
        try:
            async with (
                gateway_client(self._gateway_socket) as gateway,
                gateway.stream("GET", f"{BASE_URL}/{FILES_UPSTREAM}{handle}") as response,
            ):
                if response.status_code in (403, 404, 410):
                    raise NotFound("Discord does not have it any more.", internal=f"file: {response.status_code}")
                if response.status_code != 200:
                    raise Unavailable("Discord did not give it.", internal=f"file: {response.status_code}")
                return await gathered(response.aiter_bytes(), limit_bytes)
        except (httpx2.HTTPError, OSError) as error:
            raise Unavailable("Discord cannot be reached.", internal=type(error).__name__) from None

    def _place(self, to: Address) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(int(to.thread or to.address))


def _is_alike(listed: discord.Message, message: OutboundMessage) -> bool:
    sizes_bytes = [] if message.file is None else [message.file.size_bytes]
    return listed.content.strip() == message.text.strip() and [one.size for one in listed.attachments] == sizes_bytes


def _nonce(message: OutboundMessage) -> str:
    """Return what is the same at every try, and no other message's; Discord takes 25 characters."""
    return f"{message.reply_id}-{message.part}"
