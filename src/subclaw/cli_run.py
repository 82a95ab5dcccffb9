"""How each command is run: with the settings of the environment, to its end or until a signal."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

import typer
from rich.console import Console

from subclaw.config import Settings, load_settings
from subclaw.core.errors import SubclawError

console = Console(highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def settings() -> Settings:
    """Return what the environment says. Errors: `Invalid`."""
    return load_settings(os.environ)


def run(main: Awaitable[None], runner: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run) -> None:
    """Run a command's coroutine; SIGTERM and Ctrl-C cancel it, so that it ends in order."""

    async def cancellable() -> None:
        task = asyncio.ensure_future(main)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return
        except BaseExceptionGroup as group:
            raise _first(group) from group

    runner(cancellable())


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of ours in a group, which has words for the operator, or the first one."""
    errors = group.exceptions
    for error in errors:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, SubclawError):
            return found
    return errors[0]
