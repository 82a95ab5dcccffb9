"""What people say on Discord, as the intake takes it.

Facts: https://discord.com/developers/docs/resources/message. Without a privileged intent Discord shows a bot the words
of direct messages and of those that name it, and of no others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import discord

from subclaw.channels.discord.settings import CHANNEL
from subclaw.core.channel import ATTACHMENTS_LIMIT, Address, Attachment, InboundMessage

_SAID = (discord.MessageType.default, discord.MessageType.reply)
_FILE = re.compile(r"/(ephemeral-)?attachments/[0-9]+/[0-9]+/[^\s#?]+(\?[^\s#]*)?")
_HANDLE_LIMIT_CHARACTERS = 1_000
_NAME_LIMIT_CHARACTERS = 100
_NAMED = re.compile(r"<@!?([0-9]+)>")
_CANNOT_READ = "I can't read that here. Tell me in words what you would like"


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A message for the agent in which there is nothing that it could take; `words` are for whoever wrote it."""

    sender: Address
    words: str


def is_for(message: discord.Message, bot_id: int) -> bool:
    """Say whether it is what a person said to the bot."""
    if message.author.bot or message.webhook_id is not None or message.type not in _SAID:
        return False
    return _is_private(message) or _is_addressed(message, bot_id)


def read_message(message: discord.Message, bot_id: int, channel: object) -> InboundMessage | Unreadable:
    """Return what a person said to the bot in a channel, which may be a thread."""
    text, attachments = _words(message, bot_id), tuple(_attachments(message))
    is_private, sender = _is_private(message), _sender(channel)
    if not text and not attachments:
        how = "." if is_private else ", and name me when you do: Discord shows me no other words."
        return Unreadable(sender=sender, words=_CANNOT_READ + how)
    return InboundMessage(
        sender=sender,
        provider_id=str(message.id),
        text=text,
        received_at=datetime.now(UTC),
        speaker="" if is_private else message.author.display_name[:_NAME_LIMIT_CHARACTERS],
        attachments=attachments[:ATTACHMENTS_LIMIT],
    )


def _is_private(message: discord.Message) -> bool:
    return isinstance(message.channel, discord.DMChannel)


def _sender(channel: object) -> Address:
    """Return where a message was said: a channel by its id, and the thread in it."""
    if isinstance(channel, discord.Thread):
        return Address(channel=CHANNEL, address=str(channel.parent_id), thread=str(channel.id))
    assert isinstance(channel, discord.abc.Snowflake)
    return Address(channel=CHANNEL, address=str(channel.id))


def _is_addressed(message: discord.Message, bot_id: int) -> bool:
    """Say whether a message in a place of several is for the bot: it is named in it, or it is answered."""
    answered = message.reference.resolved if message.reference else None
    is_answer = isinstance(answered, discord.Message) and answered.author.id == bot_id
    return is_answer or any(user.id == bot_id for user in message.mentions)


def _words(message: discord.Message, bot_id: int) -> str:
    """Return what was said as people read it, without the bot's name where it only calls it."""
    text = message.content or next((forwarded.content for forwarded in message.message_snapshots), "")
    text = re.sub(rf"\A\s*<@!?{bot_id}>[\s,:]*", "", text)
    names = {str(user.id): user.display_name for user in message.mentions}
    text = _NAMED.sub(lambda match: f"@{names[match[1]]}" if match[1] in names else match[0], text)
    if not text.strip() and message.stickers:
        text = f"[A sticker: {message.stickers[0].name}]"
    return text.strip()


def _attachments(message: discord.Message) -> Iterator[Attachment]:
    for file in message.attachments:
        parts = urlsplit(file.url)
        # The address names Discord's host; calls go where the operator says that host is.
        handle = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if _FILE.fullmatch(handle) and len(handle) <= _HANDLE_LIMIT_CHARACTERS:
            yield Attachment(
                name=file.filename,
                media_type=file.content_type or "",
                size_bytes=file.size if file.size >= 0 else None,
                handle=handle,
            )
