"""Serving the fake Slack for a block."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web

from subclaw.testing.channels.provider import on_loopback
from subclaw.testing.channels.slack.files import FILE_LIMIT_BYTES, download, upload
from subclaw.testing.channels.slack.state import FakeSlack
from subclaw.testing.channels.slack.web_api import call


@asynccontextmanager
async def fake_slack(*, token: str, signing_secret: str, port: int = 0) -> AsyncIterator[FakeSlack]:
    """Serve the fake on a port of loopback: methods under `/api`, files under `/files-pri`, `/upload`."""
    fake = FakeSlack(token=token, signing_secret=signing_secret)
    app = web.Application(client_max_size=FILE_LIMIT_BYTES)
    app.router.add_route("*", "/api/{method}", partial(call, fake))
    app.router.add_get("/files-pri/{path:.+}", partial(download, fake))
    app.router.add_post("/upload/v1/{file}", partial(upload, fake))
    async with on_loopback(fake, app, port=port) as origin:
        fake.base_url = origin
        yield fake
