"""What the fakes of all providers have: they are served for a block, and what came to them can be waited for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import web

Item = TypeVar("Item")


@dataclass(kw_only=True)
class FakeProvider:
    """The state that every fake has: where it is served, and what others wait for.

    `news` is notified of whatever came. `stopped` is set once the fake is to end: no request hangs longer than that.
    """

    base_url: str = ""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)


@asynccontextmanager
async def running(fake: FakeProvider, app: web.Application) -> AsyncIterator[web.AppRunner]:
    """Run the application of a fake, and give its runner, for the sites on which it is to be served."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        yield runner
    finally:
        fake.stopped.set()
        await runner.cleanup()


@asynccontextmanager
async def on_loopback(fake: FakeProvider, app: web.Application, *, port: int = 0) -> AsyncIterator[str]:
    """Serve the application of a fake on a port of loopback, and give the origin of its addresses."""
    async with running(fake, app) as runner:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"


async def keep(fake: FakeProvider, record: list[Item], item: Item) -> None:
    """Put what came into one of the fake's records, and tell whoever waits for news."""
    async with fake.news:
        record.append(item)
        fake.news.notify_all()


async def wait_until(fake: FakeProvider, holds: Callable[[], bool]) -> None:
    """Wait until something holds of what came."""
    async with fake.news:
        await fake.news.wait_for(holds)
