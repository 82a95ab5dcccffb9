"""`subclaw chat`: an agent in the terminal, or in a script, through the web chat of a running subclaw."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from rich.console import Console
from rich.markup import escape

from subclaw.app.addresses import local_url, public_url
from subclaw.channels.web.client import FileToSend, Said, WebPerson, web_person
from subclaw.config import Settings
from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.home import Home, require_running

T = TypeVar("T")

REPLY_TIMEOUT_S = 600
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait before each further try, while subclaw is being started anew."""


async def say_once(
    settings: Settings, console: Console, text: str, *, name: str = "", files: Sequence[Path] = (), aside: Console
) -> None:
    """Send one message and print the reply, and nothing else; what the agent had said before goes `aside`.

    Errors: `Invalid`, `Unavailable`.
    """
    if not text.strip() and not files:
        raise Invalid("There is nothing to say.")
    sent = [read_file(path) for path in files]
    async with _person(settings, name) as person:
        id = str(uuid4())
        await _send(person, id, text, sent)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S), aclosing(_followed(person)) as said:
                reply = await _reply_to(id, said, aside)
        except TimeoutError:
            raise Unavailable(f"There was no reply within {REPLY_TIMEOUT_S // 60} minutes.") from None
    if console.is_terminal:
        console.print(f"[green]agent[/]  {escape(reply)}", soft_wrap=True)
    else:
        console.print(reply, soft_wrap=True, markup=False, highlight=False, emoji=False)


async def converse(settings: Settings, console: Console, *, name: str = "") -> None:
    """Send line after line, until the end of input, and show whatever the agent says, asked or not."""
    async with _person(settings, name) as person, asyncio.TaskGroup() as group:
        exchange = _Exchange()
        listening = group.create_task(_show(person, console, exchange))
        console.print("[dim]/file PATH sends a file, Ctrl-D ends.[/]")
        while True:
            try:
                line = await asyncio.to_thread(console.input, "[cyan]you[/]    ")
            except EOFError:
                break
            try:
                await _say(person, console, exchange, line)
            except SubclawError as error:
                console.print(f"[red]{escape(error.public)}[/]")
        listening.cancel()


@dataclass(kw_only=True)
class _Exchange:
    """A message that is under way, by its id; it is answered once the agent speaks after it."""

    id: str = ""
    heard: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)


async def _say(person: WebPerson, console: Console, exchange: _Exchange, line: str) -> None:
    """Send a line, or the file that it names, and wait for what the agent says to it."""
    named = line.removeprefix("/file ").strip() if line.startswith("/file ") else ""
    files = [read_file(Path(named))] if named else []
    exchange.id, exchange.heard = str(uuid4()), False
    exchange.answered.clear()
    with console.status("the agent is at work"):
        await _send(person, exchange.id, "" if named else line, files)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await exchange.answered.wait()
        except TimeoutError:
            raise Unavailable("There is no reply yet. It is shown here when it comes.") from None


async def _show(person: WebPerson, console: Console, exchange: _Exchange) -> None:
    async for said in _followed(person):
        if said.by == "agent":
            console.print(f"[green]agent[/]  {escape(said.text)}", soft_wrap=True)
            if exchange.heard:
                exchange.answered.set()
        elif said.id == exchange.id:
            exchange.heard = True


async def _reply_to(id: str, heard: AsyncIterator[Said], aside: Console) -> str:
    """Return what the agent says after a message; what it said before is printed aside."""
    is_said = False
    async for said in heard:
        if said.by == "person":
            is_said = is_said or said.id == id
        elif is_said:
            return said.text
        else:
            aside.print(f"agent  {said.text}", soft_wrap=True, markup=False, highlight=False)
    raise Unavailable("The chat ended before there was a reply.")


async def _send(person: WebPerson, id: str, text: str, files: Sequence[FileToSend]) -> None:
    """Send a message until it is taken. It keeps its id, so it is one message however often it arrives."""
    await _through_restarts(lambda: person.say(text, id=id, files=files))


async def _through_restarts(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what an attempt comes to; while subclaw is away, it is made again. Errors: those of the last one."""
    for pause_s in PAUSES_S:
        try:
            return await attempt()
        except Unavailable:
            await asyncio.sleep(pause_s)
    return await attempt()


async def _followed(person: WebPerson) -> AsyncGenerator[Said, None]:
    """Yield what is said, also after subclaw was started anew. Errors: `Unavailable`, if it stays away."""
    failures = 0
    while True:
        try:
            async with aclosing(person.listen()) as heard:
                async for said in heard:
                    failures = 0
                    yield said
        except Unavailable:
            if failures == len(PAUSES_S):
                raise
        await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
        failures += 1


def read_file(path: Path) -> FileToSend:
    """Read a file that is to be sent. Errors: `Invalid`, in words."""
    try:
        return FileToSend(name=path.name, content=path.expanduser().read_bytes())
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror or type(error).__name__}.") from None


@asynccontextmanager
async def _person(settings: Settings, name: str) -> AsyncIterator[WebPerson]:
    """Be the same person as the last time, and begin after what was said then. Errors: `Invalid`, `Unavailable`."""
    home = Home(settings.home)
    if not re.fullmatch(r"[a-z0-9-]{0,40}", name):
        raise Invalid("--as takes a name of small letters, digits and hyphens, up to 40 of them.")
    file = home.chat_file.with_name(f"chat-{name}.json") if name else home.chat_file
    port = require_running(home)
    known = _read(file)
    netloc = urlsplit(public_url(settings, port)).netloc

    def opened() -> Awaitable[WebPerson]:
        page = web_person(local_url(settings, port), cookies=known["cookies"], host=netloc)
        return stack.enter_async_context(page)

    async with AsyncExitStack() as stack:
        person = await _through_restarts(opened)
        person.seen = known["seen"]
        try:
            yield person
        finally:
            file.touch(mode=0o600)
            file.write_text(json.dumps({"cookies": person.cookies, "seen": person.seen}))


def _read(file: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"cookies": {}, "seen": 0}
    return known
