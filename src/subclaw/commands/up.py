"""`subclaw up`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from rich.console import Console

from subclaw.box import Box, box_up
from subclaw.channels.kind import ChannelSetUp
from subclaw.config import Settings
from subclaw.models.choice import DEMO


async def serve_until_stopped(settings: Settings, environ: Mapping[str, str], console: Console) -> None:
    """Serve until cancelled."""
    async with started_box(settings, environ, console) as box:
        console.print(f"\n  Web chat   [bold]{box.url}/[/]")
        console.print(f"  Model      {describe_model(settings)}", soft_wrap=True)
        # What is not a terminal may be a log, and the link is a credential.
        link = box.console if console.is_terminal else "(subclaw console prints the link)"
        console.print(f"  Console    {link}", soft_wrap=True)
        for line in channel_lines(settings.channels, box.url):
            console.print(line, soft_wrap=True)
        console.print(f"  State      {settings.home}")
        console.print("\n  Ctrl-C stops.\n")
        await asyncio.get_running_loop().create_future()


def channel_lines(channels: Sequence[ChannelSetUp], url: str) -> list[str]:
    """Say where people write to, and what of it is to be pasted at the provider."""
    return [
        f"  {one.label:<10} {one.place}" + (f"  (webhook: {url}{one.webhooks[0].path})" if one.webhooks else "")
        for one in channels
        if one.place
    ]


@asynccontextmanager
async def started_box(settings: Settings, environ: Mapping[str, str], console: Console) -> AsyncIterator[Box]:
    """Run a box for the life of the block, saying what is being started."""
    async with AsyncExitStack() as stack:
        with console.status("starting") as status:
            starting = box_up(settings, environ, lambda step: status.update(f"starting {step}"))
            box = await stack.enter_async_context(starting)
        yield box


def describe_model(settings: Settings) -> str:
    """Say which model answers, and that the demo is one."""
    if settings.model == DEMO:
        return "demo: a fixed script, because no model key is set (OPENAI_API_KEY, ANTHROPIC_API_KEY, GOOGLE_API_KEY)"
    return str(settings.model)
