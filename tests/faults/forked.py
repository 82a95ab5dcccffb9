"""Processes that are forked from one that has imported everything: hundreds can be killed in a short time."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Coroutine
from multiprocessing.context import ForkServerProcess
from typing import Any

import uvloop

PROCESSES = multiprocessing.get_context("forkserver")
IMPORTED = ("control_intake", "live_worker", "outbox_sender", "replica", "stranger_intake", "web_replica")


def started(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """Start a process that calls a function."""
    PROCESSES.set_forkserver_preload([f"tests.faults.{name}" for name in IMPORTED])
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def run_process(main: Coroutine[Any, Any, None], log: str = "") -> None:
    """Run as production does; and end when whoever started this has ended. What is said goes to the file `log`."""
    if log:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)

    async def run() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            asyncio.get_running_loop().add_reader(parent.sentinel, os._exit, 1)
        await main

    uvloop.run(run())
