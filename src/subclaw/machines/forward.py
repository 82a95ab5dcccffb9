"""Unix sockets on the host that lead to ports in machines. A connection wakes the machine."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.machines.guest.guest import Guest, result
from subclaw.sockets import bind_unix
from subclaw_guest.link import LinkClosed, Stream, StreamCancelled

PIECE_BYTES = 32_768
SOCKETS_PER_TENANT = 32
CONNECTIONS_PER_TENANT = 256
HALF_OPEN_S = 60.0
"""How long a connection may stay open inward after the program inside has sent all it will."""

Used = Callable[[], None]
Connected = Callable[[TenantId], AbstractAsyncContextManager[tuple[Guest, Used]]]

logger = logging.getLogger(__name__)


class Forwards:
    """The forward sockets of all tenants. All tasks run in the group that is given."""

    def __init__(self, folder: Path, group_id: int | None, group: asyncio.TaskGroup, connected: Connected) -> None:
        self._folder = folder
        self._group_id = group_id
        self._group = group
        self._connected = connected
        self._servers: dict[tuple[TenantId, int], asyncio.Server] = {}
        self._relays: dict[TenantId, set[asyncio.Task[None]]] = {}
        self._making = asyncio.Lock()

    async def socket_for(self, tenant_id: TenantId, port: int) -> Path:
        """Return the socket that leads to a port, listening. Raises `Exhausted`, `Unavailable`."""
        path = self._path(tenant_id, port)
        async with self._making:
            if (tenant_id, port) in self._servers:
                return path
            if sum(owner == tenant_id for owner, _ in self._servers) >= SOCKETS_PER_TENANT:
                raise Exhausted("Too many ports of this machine are in use.")

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self._accept(tenant_id, port, reader, writer)

            try:
                listening = bind_unix(path, self._group_id)
                server = await asyncio.start_unix_server(accept, sock=listening, limit=PIECE_BYTES)
            except OSError as error:
                raise Unavailable("The port cannot be reached from the host.", internal=str(error)) from error
            self._servers[tenant_id, port] = server
        return path

    async def reopen(self) -> None:
        """Listen again on the sockets of a host that was killed: the router still sends visitors there."""
        for path in self._folder.glob("*.sock"):
            tenant_id, _, port = path.stem.partition("-")
            if tenant_id.isdecimal() and port.isdecimal():
                await self.socket_for(TenantId(int(tenant_id)), int(port))

    async def remove(self, tenant_id: TenantId) -> None:
        """Close a tenant's sockets and connections."""
        for owner, port in [key for key in self._servers if key[0] == tenant_id]:
            self._servers.pop((owner, port)).close()
            self._path(owner, port).unlink(missing_ok=True)
        for task in self._relays.get(tenant_id, ()):
            task.cancel()

    async def close(self) -> None:
        """Close every socket and connection."""
        for tenant_id in {owner for owner, _ in self._servers} | set(self._relays):
            await self.remove(tenant_id)

    def _path(self, tenant_id: TenantId, port: int) -> Path:
        return self._folder / f"{int(tenant_id)}-{port}.sock"

    def _accept(
        self, tenant_id: TenantId, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Begin a connection's task, unless the tenant has too many."""
        relays = self._relays.setdefault(tenant_id, set())
        if len(relays) >= CONNECTIONS_PER_TENANT:
            writer.transport.abort()
            return
        task = self._group.create_task(self._relay(tenant_id, port, reader, writer))
        relays.add(task)
        task.add_done_callback(lambda done: self._end(tenant_id, done))

    def _end(self, tenant_id: TenantId, task: asyncio.Task[None]) -> None:
        relays = self._relays[tenant_id]
        relays.discard(task)
        if not relays:
            del self._relays[tenant_id]

    async def _relay(
        self, tenant_id: TenantId, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection. Where nothing listens inside it is closed without a byte, which Caddy makes a 502."""
        try:
            async with self._connected(tenant_id) as (guest, used), guest.connect(port) as stream:
                inward = self._group.create_task(carry_inward(reader, stream, used))
                try:
                    await carry_outward(stream, writer, used)
                finally:
                    inward.cancel()
        except SubclawError as error:
            logger.info("a connection to port %d of machine %s ended: %s", port, tenant_id, error.internal)
        except (OSError, StreamCancelled):
            pass  # whoever connected has gone
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def carry_inward(reader: asyncio.StreamReader, stream: Stream, used: Used) -> None:
    """Host to machine. The end of what comes is passed on; a broken connection ends both directions."""
    try:
        while piece := await reader.read(PIECE_BYTES):
            await stream.send(piece)
            used()
        await stream.end()
    except OSError:
        await stream.cancel()
    except (LinkClosed, StreamCancelled):
        pass  # the other direction knows why


async def carry_outward(stream: Stream, writer: asyncio.StreamWriter, used: Used) -> None:
    """Machine to host, then wait for the other direction to end. Raises what the agent refused the connection with."""
    while (piece := await stream.receive()) is not None:
        writer.write(piece)
        await writer.drain()
        used()
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HALF_OPEN_S):
            await result(stream)
