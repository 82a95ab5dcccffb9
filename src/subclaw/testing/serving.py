"""Serving an ASGI application for real, on a port of loopback: for as long as a test needs it, or as a process."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

_START_S = 10.0


@asynccontextmanager
async def serving(app: Any, *, port: int = 0) -> AsyncIterator[int]:
    """Serve until the context ends, and give the port. Streams that are still open a second later are cut off.

    The same port can be served again at once, as after a restart.
    """
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        # Not in a task group: that would cancel it when a test fails, and uvicorn leaves its server open then.
        serve = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(_START_S):
                await _started(server, serve)
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            await serve


async def serve_for_ever(app: Any) -> None:
    """Serve on a free port, which is printed, until the process is ended."""
    # The protocol is named so that the loop turns Nagle's delay off.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)  # noqa: T201 - whoever started it reads the port
        await uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).serve(sockets=[listener])


def free_port() -> int:
    """Return a port of loopback for a program that opens it itself.

    It is below those that Linux gives to whoever asks for any, so that nothing else takes it meanwhile.
    """
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first_given // 2, first_given)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


async def _started(server: uvicorn.Server, serve: asyncio.Task[None]) -> None:
    while not server.started and not serve.done():  # noqa: ASYNC110 - uvicorn offers nothing to wait on
        await asyncio.sleep(0.01)
