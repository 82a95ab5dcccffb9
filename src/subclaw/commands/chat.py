"""`subclaw chat`: the operator's own agent, in the terminal, through the web chat."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

from subclaw.app.addresses import local_url, public_url
from subclaw.channels.web.client import WebPerson, web_person
from subclaw.config import Settings
from subclaw.core.errors import SubclawError
from subclaw.home import Home, require_running

REPLY_TIMEOUT_S = 600


async def say_once(settings: Settings, console: Console, text: str) -> None:
    """Send one message and print the reply."""
    async with _person(settings) as person:
        await _exchange(person, text, console)


async def converse(settings: Settings, console: Console) -> None:
    """Send line after line, until the end of input."""
    async with _person(settings) as person:
        console.print("[dim]Ctrl-D ends.[/]")
        while True:
            try:
                text = await asyncio.to_thread(console.input, "[cyan]you[/]    ")
            except EOFError:
                return
            try:
                await _exchange(person, text, console)
            except SubclawError as error:
                console.print(f"[red]{escape(error.public)}[/]")


async def _exchange(person: WebPerson, text: str, console: Console) -> None:
    with console.status("the agent is at work"):
        await person.say(text)
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            reply = await person.reply()
    console.print(f"[green]agent[/]  {escape(reply)}", soft_wrap=True)


@asynccontextmanager
async def _person(settings: Settings) -> AsyncIterator[WebPerson]:
    """Be the same person as the last time, and begin after what was said then."""
    home = Home(settings.home)
    port = require_running(home)
    known = _read(home.chat_file)
    netloc = urlsplit(public_url(settings, port)).netloc
    async with web_person(local_url(settings, port), cookies=known["cookies"], host=netloc) as person:
        person.seen = known["seen"]
        try:
            yield person
        finally:
            home.chat_file.touch(mode=0o600)
            home.chat_file.write_text(json.dumps({"cookies": person.cookies, "seen": person.seen}))


def _read(file: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"cookies": {}, "seen": 0}
    return known
