"""Serving the fake Discord for a block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web

from subclaw.testing.channels.discord.gateway import connect, hang_up
from subclaw.testing.channels.discord.rest import ROUTES, call, download
from subclaw.testing.channels.discord.sending import BODY_LIMIT_BYTES
from subclaw.testing.channels.discord.state import FakeDiscord
from subclaw.testing.channels.provider import on_loopback


@asynccontextmanager
async def fake_discord(
    *, token: str = "", port: int = 0, again: FakeDiscord | None = None
) -> AsyncIterator[FakeDiscord]:
    """Serve the fake on a port of loopback; `again` is one that was served before, and goes on as it was."""
    fake = again or FakeDiscord(token=token)
    fake.stopped = asyncio.Event()
    app = web.Application(client_max_size=2 * BODY_LIMIT_BYTES)
    for (method, path), route in ROUTES.items():
        app.router.add_route(method, f"/api/v10{path}", partial(call, fake, route))
    app.router.add_get("/gateway/", partial(connect, fake))
    app.router.add_get("/{kind:(ephemeral-)?attachments}/{path:.+}", partial(download, fake))
    async with on_loopback(fake, app, port=port) as origin:
        fake.base_url, fake.gateway_url, fake.files_url = f"{origin}/api/v10", f"{origin}/gateway", origin
        try:
            yield fake
        finally:
            await hang_up(fake)
