"""Telegram: replies out, files in and out, and typing.

Facts: https://core.telegram.org/bots/api#sendmessage, https://core.telegram.org/bots/api#making-requests,
https://core.telegram.org/bots/api#sending-files.
"""

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

import httpx2
from aiogram import Bot
from aiogram.exceptions import (
    AiogramError,
    TelegramBadRequest,
    TelegramMigrateToChat,
    TelegramNotFound,
    TelegramUnauthorizedError,
)
from aiogram.types import BufferedInputFile

from subclaw.channels.downloads import gathered, require_at_most
from subclaw.channels.markdown import split_markdown
from subclaw.channels.telegram.bot import NotSent
from subclaw.channels.telegram.errors import refused
from subclaw.channels.telegram.formatting import telegram_html
from subclaw.core.channel import Address, Delivery, OutboundFile, OutboundMessage, SendResult, Trouble
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.outgoing import UPLOAD_LIMIT_BYTES

PART_LIMIT = 4096
"""What Telegram takes in one message, in UTF-16 units, tags not counted."""


PICTURE_LIMIT_BYTES = 10_000_000
_PICTURES = frozenset({"image/jpeg", "image/png", "image/webp"})
_NO_PICTURE = ("PHOTO", "IMAGE")
"""What Telegram's answers have in them when a picture is too wide or too high, or none that it can read."""


class TelegramChannel:
    """The way out by Telegram. An address is a chat's id, negative for a group."""

    name = "telegram"

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into messages."""
        return split_markdown(text, PART_LIMIT)

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a message. Telegram cannot be asked what it was given, so a lost answer stays `UNKNOWN`."""
        return await _outcome(lambda chat_id: self._say(chat_id, message.text), int(message.to.address))

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether Telegram takes such a file: any, up to 50 MB, of which the way there takes less."""
        return size_bytes <= UPLOAD_LIMIT_BYTES

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send a file, a picture as one that is shown at once; its title stands below it."""
        return await _outcome(lambda chat_id: self._send_file(chat_id, message.text, file), int(message.to.address))

    async def _send_file(self, chat_id: int, title: str, file: OutboundFile) -> int:
        """Send a file; a picture that Telegram does not want to show, as any other. Return the message's id."""
        content = BufferedInputFile(file.content, file.name)
        if file.media_type in _PICTURES and file.size_bytes <= PICTURE_LIMIT_BYTES:
            try:
                return (await self._bot.send_photo(chat_id, content, caption=title)).message_id
            except TelegramBadRequest as error:
                if not any(words in error.message.upper() for words in _NO_PICTURE):
                    raise
        sent = await self._bot.send_document(chat_id, content, caption=title, disable_content_type_detection=True)
        return sent.message_id

    async def _say(self, chat_id: int, text: str) -> int:
        """Send a text with its format; as it is, if Telegram does not understand that. Return the message's id."""
        try:
            sent = await self._bot.send_message(chat_id, telegram_html(text), parse_mode="HTML")
        except TelegramBadRequest as error:
            if "can't parse entities" not in error.message and "is too long" not in error.message:
                raise
            sent = await self._bot.send_message(chat_id, text)
        return sent.message_id

    async def typing(self, to: Address) -> None:
        """Show for five seconds that the agent is at work."""
        await self._bot.send_chat_action(int(to.address), "typing")

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file that came with a message; Telegram gives bots those of up to 20 MB."""
        try:
            file = await self._bot.get_file(handle)
            require_at_most(file.file_size or 0, limit_bytes)
            url = self._bot.session.api.file_url("", quote(file.file_path or ""))
            return await gathered(self._bot.session.stream_content(url), limit_bytes)
        except TelegramBadRequest as error:
            if "too big" in error.message:
                raise Invalid("Telegram gives bots no files of more than 20 MB.") from None
            raise NotFound("Telegram does not have it any more.", internal="getFile: 400") from None
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            kind = NotFound if status in (404, 410) else Unavailable
            raise kind("Telegram did not give it.", internal=f"file: {status}") from None
        except (TelegramNotFound, TelegramUnauthorizedError):
            raise Unavailable("Telegram does not accept the bot's token.", internal="getFile") from None
        except (NotSent, AiogramError, httpx2.HTTPError, OSError) as error:
            raise Unavailable("Telegram cannot be reached.", internal=type(error).__name__) from None


async def _outcome(send: Callable[[int], Awaitable[int]], chat_id: int) -> SendResult:
    """Say what became of a message to a chat; of one to a group that became a larger kind of group, there."""
    try:
        try:
            message_id = await send(chat_id)
        except TelegramMigrateToChat as error:
            message_id = await send(error.migrate_to_chat_id)
    except NotSent as error:
        return SendResult(delivery=Delivery.FAILED, detail=str(error), trouble=Trouble.NETWORK)
    except AiogramError as error:
        return refused(error)
    return SendResult(delivery=Delivery.SENT, provider_id=str(message_id))
