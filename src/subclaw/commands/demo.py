"""`subclaw demo`: a new user texts for a page, and it is live."""

import asyncio
import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx2
from rich.console import Console
from rich.markup import escape

from subclaw.app.addresses import local_url
from subclaw.channels.web.client import WebPerson, web_person
from subclaw.commands.up import describe_model, started_box
from subclaw.config import Settings
from subclaw.core.errors import Unavailable
from subclaw.home import Home
from subclaw.machines.host_client import HostClient

WISHES = ("hello", "build me an invoice generator")
REPLY_TIMEOUT_S = 300
SHOWN_LINES = 12
FETCH_PAUSES_S = (0, 0.1, 0.5, 2)
"""A new hostname is known to the router some milliseconds after it is published."""


async def play(settings: Settings, environ: Mapping[str, str], console: Console) -> None:
    """Play the demo. Errors: `Unavailable` if the page did not come to be."""
    async with started_box(settings, environ, console) as box:
        console.print(f"[bold]subclaw[/] at {box.url}/   model: {describe_model(settings)}\n", soft_wrap=True)
        local = local_url(settings, box.port)
        async with web_person(local, host=urlsplit(box.url).netloc) as person:
            reply = ""
            for wish in WISHES:
                reply = await _exchange(person, wish, settings, console)
        url = re.search(r"https?://\S+[^\s.,:;)]", reply)
        if url is None:
            raise Unavailable("The demo ended without a live page: the reply named no address.")
        page = await _fetch(local, url[0])
        _show_page(url[0], page, console)


async def _exchange(person: WebPerson, wish: str, settings: Settings, console: Console) -> str:
    console.print(f"  [cyan]you[/]    {escape(wish)}", soft_wrap=True)
    began = time.monotonic()
    with console.status("the agent is at work"):
        await person.say(wish)
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            reply = await person.reply()
    console.print(f"  [green]agent[/]  {escape(reply)}", soft_wrap=True)
    async with HostClient(Home(settings.home).host_socket) as host:
        awake = len(await host.statuses())
    console.print(f"         [dim]{time.monotonic() - began:.1f} s; machines awake: {awake}[/]\n")
    return reply


async def _fetch(local: str, url: str) -> str:
    """Fetch a page through the router, whatever this host makes of its hostname."""
    parts = urlsplit(url)
    async with httpx2.AsyncClient(base_url=local, trust_env=False, timeout=30) as client:
        for pause_s in FETCH_PAUSES_S:
            await asyncio.sleep(pause_s)
            response = await client.get(parts.path or "/", headers={"Host": parts.netloc})
            if response.status_code == 200:
                return response.text
    raise Unavailable(f"{url} answered with status {response.status_code}.")


def _show_page(url: str, page: str, console: Console) -> None:
    title = re.search(r"<title>(.*?)</title>", page, re.S)
    words = escape(title[1]) if title else "(no title)"
    console.print(f"  [bold]{escape(url)}[/]  {len(page.encode()):,} bytes: {words}\n", soft_wrap=True)
    lines = page.splitlines()
    more = [f"… {len(lines) - SHOWN_LINES} lines more"] if len(lines) > SHOWN_LINES else []
    for line in [*lines[:SHOWN_LINES], *more]:
        console.print(f"    {escape(line)}", style="dim", soft_wrap=True)
