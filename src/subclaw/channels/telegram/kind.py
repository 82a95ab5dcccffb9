"""Telegram, as a kind of channel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from subclaw.channels.kind import ChannelKind, ChannelSetUp, Inside, Outside, Webhook
from subclaw.channels.telegram.settings import (
    FILES_UPSTREAM,
    SCHEME,
    TOKEN,
    UPSTREAM,
    WEBHOOK_PATH,
    TelegramSettings,
)
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.signature import Signature
from subclaw.core.upstream import Injection, Upstream, read_base_url

if TYPE_CHECKING:
    from fastapi import APIRouter


def read_telegram(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return Telegram as it is set up. Errors: `Invalid`."""
    bot = given.get("TELEGRAM_BOT", "").removeprefix("@")
    if not bot:
        return None
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{3,31}", bot):
        raise Invalid(f"TELEGRAM_BOT is {bot!r}; it must be the bot's user name, such as my_agents_bot.")
    base_url = read_base_url(given, "TELEGRAM_BASE_URL", "https://api.telegram.org")
    settings = TelegramSettings(bot=bot, base_url=base_url)
    return ChannelSetUp(
        kind=TELEGRAM,
        place=f"https://t.me/{bot}",
        label="Telegram",
        upstreams=_upstreams(settings),
        signatures={SCHEME: Signature(secret=TOKEN)},
        webhooks=(Webhook(path=WEBHOOK_PATH, where="nowhere: Telegram is told at the start"),),
        routes=partial(_routes, settings),
        open=partial(_open, settings),
        listen=partial(_listen, settings),
        check=partial(_check, settings),
    )


def _upstreams(settings: TelegramSettings) -> tuple[Upstream, ...]:
    """Return where methods and where files are: the token is in the path of both, at different places."""
    calls = Upstream(name=UPSTREAM, base_url=settings.base_url, injection=Injection.PATH, segment="bot{}", secret=TOKEN)
    files = Upstream(
        name=FILES_UPSTREAM,
        base_url=f"{settings.base_url}/file",
        injection=Injection.PATH,
        segment="bot{}",
        secret=TOKEN,
        methods=("GET",),
    )
    return calls, files


def _routes(settings: TelegramSettings, inside: Inside) -> APIRouter:
    from subclaw.channels.telegram.inbound import telegram_router

    async def check(secret: str) -> bool:
        return await inside.verify(SCHEME, {"secret": secret})

    return telegram_router(intake=inside.intake, check_secret=check, bot=settings.bot)


@asynccontextmanager
async def _open(settings: TelegramSettings, outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.telegram.bot import telegram_bot
    from subclaw.channels.telegram.channel import TelegramChannel

    async with telegram_bot(outside.gateway_socket) as bot:
        yield TelegramChannel(bot)


async def _listen(settings: TelegramSettings, outside: Outside) -> None:
    from subclaw.channels.telegram.bot import telegram_bot
    from subclaw.channels.telegram.listening import keep_webhook, poll

    async with telegram_bot(outside.gateway_socket) as bot:
        if outside.public_url is not None and outside.public_url.startswith("https://"):
            await keep_webhook(bot, outside.public_url + WEBHOOK_PATH, outside.gateway_socket)
        else:
            await poll(bot, outside.intake, name=settings.bot)


async def _check(settings: TelegramSettings, outside: Outside) -> str:
    from subclaw.channels.telegram.bot import telegram_bot
    from subclaw.channels.telegram.listening import describe

    async with telegram_bot(outside.gateway_socket) as bot:
        return await describe(bot, settings.bot)


TELEGRAM = ChannelKind(
    name="telegram",
    title="Telegram",
    read=read_telegram,
    variables=("TELEGRAM_BOT", "TELEGRAM_BASE_URL"),
    secrets={"TELEGRAM_BOT_TOKEN": TOKEN},
)
