"""Handing a machine over as the host does, to a gateway that runs in this process with a book in memory."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from nacl.public import PrivateKey

from subclaw.egress.limits import Limits
from subclaw.egress.machines.certificates import Authority
from subclaw.egress.machines.machines import Machines
from subclaw.egress.machines.ways_out import serve_ways_out
from subclaw.egress.names.resolver import HostResolver
from subclaw.egress.outside import Outside
from subclaw.testing.egress_book import MemoryEgressBook
from subclaw.testing.egress_machine import trusting, upstream_authority

MESSAGE = b'{"tenant": "7"}\n'


@asynccontextmanager
async def gateway(
    path: Path,
    book: MemoryEgressBook,
    *,
    host_user: int | None = None,
    outside: Authority | None = None,
    name_servers: Sequence[str] = (),
) -> AsyncIterator[Machines]:
    """Serve whom the host hands over at a path, for a block."""
    resolver = HostResolver(name_servers)
    machines = Machines(
        key=PrivateKey(bytes(range(32))),
        book=book,
        outside=Outside(resolver=resolver, tls=trusting(outside or upstream_authority())),
        limits=Limits(),
        starter=(),
    )
    async with asyncio.TaskGroup() as group:
        user = os.getuid() if host_user is None else host_user
        serving = [
            group.create_task(serve_ways_out(path, os.getgid(), user, machines)),
            group.create_task(machines.keep()),
        ]
        while not await asyncio.to_thread(path.exists):
            await asyncio.sleep(0.001)
        try:
            yield machines
        finally:
            for task in serving:
                task.cancel()
    await resolver.close()


async def hand_over(path: Path, message: bytes, sockets: Sequence[socket.socket]) -> socket.socket:
    """Say something to the gateway with sockets beside it; return the connection."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, str(path))
    if message:
        socket.send_fds(connection, [message], [each.fileno() for each in sockets])
    return connection


async def answered(connection: socket.socket) -> bytes:
    """Return the gateway's line, or nothing if it ends the connection."""
    said = b""
    while not said.endswith(b"\n") and (data := await asyncio.get_running_loop().sock_recv(connection, 65_536)):
        said += data
    return said
