"""`make support`: a shop and its support agent, until Ctrl-C.

A box that runs with the state folder is used, else one is started in a folder of the example's own. The commands that
set the agent up are shown as they are run: they are those that you would type.
"""

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from subclaw.app.addresses import public_url
from subclaw.cli_run import run
from subclaw.commands.up import describe_model, started_box
from subclaw.config import Settings, load_settings, process_environment
from subclaw.core.errors import Conflict, SubclawError, Unavailable
from subclaw.home import Home, require_running
from subclaw.supervisor import Process, running

HOME = "/var/lib/subclaw-support"
HOST, PORT = "shop.internal", 8300
"""How the agent's folder names the shop's API."""
SCOPES = ("sessions:read", "sessions:write", "approvals:read", "approvals:write")

Command = Callable[..., Awaitable[str]]


async def main(settings: Settings, console: Console) -> None:
    """Run the example until cancelled. Errors: `SubclawError`."""
    address = os.environ.get("SHOP_ADDRESS", "127.0.0.1")
    _require_free(address)
    shop_key = secrets.token_urlsafe(32)
    async with _box(settings, console) as url, _set_up(settings, console, address, shop_key) as key:
        environment = {
            **process_environment(settings),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
            "SHOP_LISTEN": f"{address}:{PORT}",
            "SHOP_KEY": shop_key,
            "SUBCLAW_URL": url,
            "SUBCLAW_KEY": key,
        }
        shop = Process(
            name="shop",
            command=[sys.executable, "-m", "examples.support.shop"],
            environment=environment,
            ready=lambda: _listens(address),
        )
        async with running(shop, Home(settings.home).logs):
            console.print(f"\n  The shop   [bold]http://{address}:{PORT}/[/]   sign in as a customer, and as the staff")
            console.print(f"  Agents     {url}/")
            console.print(f"  Model      {describe_model(settings)}", soft_wrap=True)
            console.print(f"  State      {settings.home}")
            console.print("\n  Ctrl-C stops.\n")
            await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def _box(settings: Settings, console: Console) -> AsyncIterator[str]:
    """Give the address of the box that runs with the state folder, or of one that runs for the block."""
    try:
        port = require_running(Home(settings.home))
    except Unavailable:
        async with started_box(settings, os.environ, console) as box:
            yield box.url
    else:
        yield public_url(settings, port)


@asynccontextmanager
async def _set_up(settings: Settings, console: Console, address: str, shop_key: str) -> AsyncIterator[str]:
    """Apply the agent, let its tools reach the shop with its key, and give a key to the agent for the block."""

    async def subclaw(*arguments: str, stdin: str = "") -> str:
        return await _subclaw(settings, console, *arguments, stdin=stdin)

    async with asyncio.TaskGroup() as group:
        group.create_task(_allow(subclaw, address))
        group.create_task(_give_key(subclaw, shop_key))
        await subclaw("agents", "apply", "support")
    scopes = [part for scope in SCOPES for part in ("--scope", scope)]
    (made,) = json.loads(await subclaw("keys", "make", "shop", "--agent", "support", *scopes, "--json"))
    try:
        yield made["key"]
    finally:
        await subclaw("keys", "revoke", str(made["number"]))


async def _allow(subclaw: Command, address: str) -> None:
    """Let the agent's tools, and nobody's machine, reach the shop's API, unless they may since the last time."""
    rules: list[dict[str, Any]] = json.loads(await subclaw("policy", "list", "--json"))
    if not any((rule["host"], rule["at"], rule["tools"]) == (HOST, address, "support") for rule in rules):
        place = ("--port", str(PORT), "--address", address)
        await subclaw("policy", "allow", HOST, *place, "--tools", "support")


async def _give_key(subclaw: Command, shop_key: str) -> None:
    """Seal the key of the shop's API for the agent's tools. On one host it may go without TLS."""
    place = ("--hosts", HOST, "--ports", str(PORT), "--plain-http")
    await subclaw("secrets", "set", "SHOP_KEY", *place, "--tools", "support", stdin=shop_key)


async def _subclaw(settings: Settings, console: Console, *arguments: str, stdin: str) -> str:
    """Run a command of subclaw's, and return what it printed. Errors: `Unavailable`, with what it complained of."""
    if "list" not in arguments:
        console.print(f"  [dim]$ subclaw {escape(' '.join(arguments))}[/]", soft_wrap=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "subclaw", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent,
        env={**os.environ, "SUBCLAW_HOME": str(settings.home)},
    )
    said, complained = await process.communicate(stdin.encode())
    if process.returncode:
        raise Unavailable(complained.decode().strip().removeprefix("subclaw: "))
    return said.decode()


def _require_free(address: str) -> None:
    """Errors: `Conflict` if something else is where the shop is to be."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, PORT))
        except OSError as error:
            other = "Set SHOP_ADDRESS to another address of this host, such as 127.0.0.2."
            raise Conflict(f"The shop cannot be at {address}:{PORT}: {error.strerror}. {other}") from None


async def _listens(address: str) -> None:
    """Return once the shop can be reached."""
    while True:
        try:
            _, writer = await asyncio.open_connection(address, PORT)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


if __name__ == "__main__":
    terminal = Console(highlight=False)
    try:
        run(main(load_settings({"SUBCLAW_HOME": HOME, **os.environ}), terminal))
    except SubclawError as error:
        sys.exit(f"subclaw: {error.public}")
