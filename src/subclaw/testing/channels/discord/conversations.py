"""Whoever and whatever Discord shows: people, channels, and what is written in them."""

import time
from collections.abc import Mapping
from typing import Any

from subclaw.testing.channels.discord.state import FakeDiscord

EPOCH_MS = 1_420_070_400_000
"""What ids count their time from: the beginning of 2015."""
PRIVATE, TEXT, THREAD = 1, 0, 11
"""Types of channels."""


def private(fake: FakeDiscord, channel_id: int = 1001, person: str = "ann") -> dict[str, Any]:
    """Return the channel of a person with the bot."""
    recipient = {**user(channel_id + 1, person), "bot": False}
    channel = {"id": str(channel_id), "type": PRIVATE, "recipients": [recipient], "last_message_id": None}
    return fake.channels.setdefault(channel_id, channel)


def public(fake: FakeDiscord, channel_id: int = 2001, *, parent_id: int | None = None) -> dict[str, Any]:
    """Return a channel of the server, or a thread in one. Before the bot connects, so that it is told of it."""
    channel: dict[str, Any] = {"id": str(channel_id), "type": TEXT, "guild_id": str(fake.guild_id), "name": "general"}
    if parent_id is None:
        channel |= {"position": 0, "permission_overwrites": [], "parent_id": None, "nsfw": False, "topic": None}
    else:
        metadata = {"archived": False, "auto_archive_duration": 60, "archive_timestamp": _now(), "locked": False}
        channel |= {"type": THREAD, "parent_id": str(parent_id), "owner_id": "1", "thread_metadata": metadata}
        channel |= {"message_count": 1, "member_count": 1, "rate_limit_per_user": 0, "last_message_id": None}
    return fake.channels.setdefault(channel_id, channel)


def written(fake: FakeDiscord, text: str = "", *, channel_id: int = 1001, **more: Any) -> dict[str, Any]:
    """Return the message that a person wrote, which is in its channel from now on. `more` overrides or adds fields.

    Whoever is named by `<@…>` is among its mentions.
    """
    channel = fake.channels.get(channel_id) or private(fake, channel_id)
    author = channel["recipients"][0] if channel["type"] == PRIVATE else user(7001, "ben", "Ben Lee")
    named = [user(fake.bot_id, "agents", bot=True)] if f"<@{fake.bot_id}>" in text else []
    message = message_of(fake, channel_id, author, text) | {"mentions": named}
    if channel["type"] != PRIVATE:
        member = {"roles": [], "joined_at": _now(), "deaf": False, "mute": False, "flags": 0, "nick": None}
        message |= {"guild_id": str(fake.guild_id), "member": member}
    fake.said[channel_id].append(message | more)
    return message | more


def user(user_id: int, name: str, shown: str | None = None, *, bot: bool = False) -> dict[str, Any]:
    """Return a person, or a bot; `shown` is the name that others see."""
    about = {"id": str(user_id), "username": name, "discriminator": "0", "avatar": None, "global_name": shown}
    return about | {"bot": bot}


def message_of(fake: FakeDiscord, channel_id: int, author: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return a message, whose id has the time in it."""
    message_id = (int(time.time() * 1000) - EPOCH_MS << 22) + next(fake.numbers)
    message: dict[str, Any] = {
        "id": str(message_id),
        "channel_id": str(channel_id),
        "author": author,
        "content": text,
        "type": 0,
    }
    message |= {"timestamp": _now(), "edited_timestamp": None, "tts": False, "mention_everyone": False, "pinned": False}
    return message | {
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "flags": 0,
        "components": [],
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime())
