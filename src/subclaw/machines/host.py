"""The host process: a fleet of machines behind the host's API, until it is cancelled."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from subclaw.core.errors import Unavailable
from subclaw.core.machine import MachineLedger
from subclaw.machines.accelerator import probe_accelerator
from subclaw.machines.fleet import Fleet, FleetSettings
from subclaw.machines.host_api import host_api
from subclaw.machines.image import Image
from subclaw.machines.qemu import Accelerator, Owner
from subclaw.sockets import bind_unix

DRAIN_S = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """How a host process runs.

    `socket` is the API's, for `socket_group_id` to use; `forward_folder` is where the sockets into machines are made,
    for `forward_group_id`. Both folders are made if they are not there. `accelerator` is probed if it is None; `owner`
    is who QEMU runs as (None: this user). `ledger` is the record of this host's machines. The rest is as in
    `FleetSettings`.
    """

    home: Path
    cache: Path
    image: Image
    socket: Path
    forward_folder: Path
    socket_group_id: int | None = None
    forward_group_id: int | None = None
    accelerator: Accelerator | None = None
    owner: Owner | None = None
    ledger: MachineLedger | None = None
    memory_mb: int = 256
    awake_limit: int = 16
    idle_timeout_s: float = 300.0
    boot_timeout_s: float = 60.0


async def serve_host(settings: HostSettings, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run the machines of this box until cancelled, then put them all to sleep.

    Call it in the process's main thread. `on_ready` is called when the API answers. Raises `Unavailable` or `Conflict`,
    in words, if it cannot begin.
    """
    accelerator = settings.accelerator or await probe_accelerator(
        settings.image, settings.cache, settings.owner, memory_mb=settings.memory_mb
    )
    logger.info("machines run under %s", accelerator.kind.value)
    fleet_settings = FleetSettings(
        home=settings.home,
        cache=settings.cache,
        image=settings.image,
        accelerator=accelerator,
        owner=settings.owner,
        forward_folder=settings.forward_folder,
        forward_group_id=settings.forward_group_id,
        memory_mb=settings.memory_mb,
        awake_limit=settings.awake_limit,
        idle_timeout_s=settings.idle_timeout_s,
        boot_timeout_s=settings.boot_timeout_s,
    )
    make_folders(settings)
    async with Fleet(fleet_settings) as fleet:
        with listening(settings.socket, settings.socket_group_id) as listener:
            async with serving(host_api(fleet), listener):
                on_ready()
                await asyncio.Event().wait()


def make_folders(settings: HostSettings) -> None:
    """Make the folders of the sockets. Raises `Unavailable`."""
    try:
        settings.socket.parent.mkdir(parents=True, exist_ok=True)
        settings.forward_folder.mkdir(parents=True, exist_ok=True)
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
