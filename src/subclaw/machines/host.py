"""The host process: a fleet of machines behind the host's API, until it is cancelled."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from subclaw.core.errors import Unavailable
from subclaw.machines.fleet import Fleet
from subclaw.machines.host_api import host_api
from subclaw.machines.workshop import FleetSettings
from subclaw.sockets import bind_unix

DRAIN_S = 5


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """How a host process runs. `socket` is the API's, for `socket_group_id` to use; its folder is made if need be."""

    fleet: FleetSettings
    socket: Path
    socket_group_id: int | None = None


async def serve_host(settings: HostSettings, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run the machines of this box until cancelled, then put them all to sleep.

    Call it in the process's main thread. `on_ready` is called when the API answers. Raises `Unavailable` or `Conflict`,
    in words, if it cannot begin.
    """
    make_folders(settings)
    async with Fleet(settings.fleet) as fleet:
        with listening(settings.socket, settings.socket_group_id) as listener:
            async with serving(host_api(fleet), listener):
                on_ready()
                await asyncio.Event().wait()


def make_folders(settings: HostSettings) -> None:
    """Make the folders of the sockets. Raises `Unavailable`."""
    try:
        settings.socket.parent.mkdir(parents=True, exist_ok=True)
        settings.fleet.forward_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable("The folders for sockets cannot be made.", internal=str(error)) from error


@contextmanager
def listening(path: Path, group_id: int | None) -> Iterator[socket.socket]:
    """Listen on the API's socket, and remove it at the end. Raises `Unavailable`, `Conflict`."""
    with bind_unix(path, group_id) as listener:
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever runs the host decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@asynccontextmanager
async def serving(application: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    """Serve an application while the body runs; then let its calls end, or cancel them after a few seconds."""
    config = uvicorn.Config(
        application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=DRAIN_S
    )
    server = Server(config)
    serve = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serve
