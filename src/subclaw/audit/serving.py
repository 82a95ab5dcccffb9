"""The audit's own servers: the model on a unix socket, the service on loopback."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette

from subclaw.machines.host import listening, serving

PREFERRED_PORT = 47_291
"""The same at each audit, if nobody has it: so the audit's agent stays the same version."""


@asynccontextmanager
async def model_served(app: Starlette, path: Path) -> AsyncIterator[None]:
    """Serve the model to the control plane, for the block. Errors: `Conflict` if an audit runs already."""
    with listening(path, None) as listener:
        async with serving(app, listener):
            yield


@asynccontextmanager
async def service_served(app: Starlette) -> AsyncIterator[int]:
    """Serve the service on loopback, for the block; give its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        listener.setblocking(False)
        async with serving(app, listener):
            yield int(listener.getsockname()[1])
