"""How Telegram's updates get here: it is told where to call, or asked, where it could not reach us.

Facts: https://core.telegram.org/bots/api#getting-updates.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiogram import Bot
from aiogram.exceptions import AiogramError
from aiogram.types import Update

from subclaw.channels.telegram.bot import NotSent
from subclaw.channels.telegram.errors import refused
from subclaw.channels.telegram.settings import SCHEME
from subclaw.channels.telegram.updates import NotForUs, parse_update
from subclaw.core.channel import Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.egress.control.client import gateway_client, webhook_secret

KINDS = ["message"]
CONNECTIONS = 40
LOOK_AGAIN_S = 600.0
"""How often it is looked whether Telegram still calls us: somebody may have used the token elsewhere."""

POLL_S = 25


async def keep_webhook(bot: Bot, url: str, gateway_socket: Path) -> None:
    """Have Telegram call a URL, until cancelled. Errors: `Unavailable`."""
    await _set_webhook(bot, url, gateway_socket)
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        async with _translated():
            info = await bot.get_webhook_info()
        if info.url != url:
            await _set_webhook(bot, url, gateway_socket)


async def _set_webhook(bot: Bot, url: str, gateway_socket: Path) -> None:
    async with gateway_client(gateway_socket) as client:
        secret = await webhook_secret(client, SCHEME)
    async with _translated():
        await bot.set_webhook(url, secret_token=secret, allowed_updates=KINDS, max_connections=CONNECTIONS)


async def poll(bot: Bot, intake: Intake, *, name: str) -> None:
    """Fetch updates and hand them in, in order, until cancelled. Errors: `Unavailable`.

    One is fetched again until it was handed in. `name` is the bot's user name.
    """
    async with _translated():
        await bot.delete_webhook()
    offset: int | None = None
    while True:
        async with _translated():
            updates = await bot.get_updates(
                offset=offset, timeout=POLL_S, allowed_updates=KINDS, request_timeout=POLL_S
            )
        for update in updates:
            await _take(bot, intake, update, name)
            offset = update.update_id + 1


async def _take(bot: Bot, intake: Intake, update: Update, name: str) -> None:
    message = parse_update(update.model_dump(mode="json", by_alias=True, exclude_none=True), name)
    try:
        if not isinstance(message, NotForUs):
            await intake.receive(message)
            return
        chat_id, words = message.chat_id, message.words
    except Invalid as error:
        assert not isinstance(message, NotForUs)
        chat_id, words = int(message.sender.address), error.public
    if words:
        async with _translated():
            await bot.send_message(chat_id, words)


async def describe(bot: Bot, name: str) -> str:
    """Ask Telegram about the bot, and say in words what it answered. Errors: `Unavailable`."""
    async with _translated():
        me, info = await bot.get_me(), await bot.get_webhook_info()
    if (me.username or "").casefold() != name.casefold():
        raise Unavailable(f"The token is that of @{me.username}, and TELEGRAM_BOT says @{name}.")
    calls = f"Telegram calls {info.url}" if info.url else "Telegram is asked for messages, since it cannot call here"
    trouble = f"; the last call failed: {info.last_error_message}" if info.last_error_message else ""
    return f"@{me.username} answers; {calls}; {info.pending_update_count} messages wait{trouble}"


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except NotSent as error:
        raise Unavailable("Telegram cannot be reached.", internal=str(error)) from None
    except AiogramError as error:
        raise Unavailable(f"Telegram: {refused(error).detail}.", internal=type(error).__name__) from None
