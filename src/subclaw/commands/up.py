"""`subclaw up`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from rich.console import Console

from subclaw.box import Box, box_up
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
        if settings.twilio:
            console.print(f"  Text       {settings.twilio.number}  (webhook: {box.url}/webhooks/twilio/sms)")
        console.print(f"  State      {settings.home}")
        console.print("\n  Ctrl-C stops.\n")
        await asyncio.get_running_loop().create_future()


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
