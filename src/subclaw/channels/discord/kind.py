"""Discord, as a kind of channel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from subclaw.channels.discord.settings import (
    FILES_UPSTREAM,
    GATEWAY_UPSTREAM,
    TOKEN,
    UPSTREAM,
    DiscordSettings,
)
from subclaw.channels.kind import ChannelKind, ChannelSetUp, Outside
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.upstream import Injection, Upstream, read_base_url


def read_discord(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return Discord as it is set up. Errors: `Invalid`."""
    application = given.get("DISCORD_APPLICATION_ID", "")
    if not application:
        return None
    if not re.fullmatch(r"[0-9]{17,20}", application):
        raise Invalid(f"DISCORD_APPLICATION_ID is {application!r}; it must be the application's id, a number.")
    settings = DiscordSettings(
        application=application,
        base_url=read_base_url(given, "DISCORD_BASE_URL", "https://discord.com/api/v10"),
        gateway_url=read_base_url(given, "DISCORD_GATEWAY_URL", "https://gateway.discord.gg"),
        files_url=read_base_url(given, "DISCORD_FILES_URL", "https://cdn.discordapp.com"),
    )
    return ChannelSetUp(
        kind=DISCORD,
        place=f"https://discord.com/oauth2/authorize?client_id={application}",
        label="Discord",
        upstreams=_upstreams(settings),
        open=_open,
        listen=_listen,
        check=partial(_check, settings),
    )


def _upstreams(settings: DiscordSettings) -> tuple[Upstream, ...]:
    """Return where calls, the Gateway and files are. Whoever has a file's address may have it, without the token."""
    calls = Upstream(name=UPSTREAM, base_url=settings.base_url, scheme="Bot", secret=TOKEN)
    gateway = Upstream(
        name=GATEWAY_UPSTREAM,
        base_url=settings.gateway_url,
        injection=Injection.MESSAGE,
        member=("d", "token"),
        secret=TOKEN,
        methods=("GET",),
    )
    return calls, gateway, Upstream(name=FILES_UPSTREAM, base_url=settings.files_url, methods=("GET",))


@asynccontextmanager
async def _open(outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.discord.channel import DiscordChannel
    from subclaw.channels.discord.client import DiscordClient

    async with DiscordClient(outside.gateway_socket) as client:
        yield DiscordChannel(client, outside.gateway_socket)


async def _listen(outside: Outside) -> None:
    from subclaw.channels.discord.listening import listen

    await listen(outside)


async def _check(settings: DiscordSettings, outside: Outside) -> str:
    from subclaw.channels.discord.client import DiscordClient
    from subclaw.channels.discord.listening import describe

    async with DiscordClient(outside.gateway_socket) as client:
        return await describe(client, settings.application)


DISCORD = ChannelKind(
    name="discord",
    title="Discord",
    read=read_discord,
    variables=("DISCORD_APPLICATION_ID", "DISCORD_BASE_URL", "DISCORD_GATEWAY_URL", "DISCORD_FILES_URL"),
    secrets={"DISCORD_BOT_TOKEN": TOKEN},
)
