"""Unix sockets on the host that lead to ports in machines. A visit by one wakes the machine; see `visits`."""

import asyncio
import contextlib
from pathlib import Path

from subclaw.core.errors import Exhausted, Invalid, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.machines.visits.carrying import Caller
from subclaw.machines.visits.head import HEAD_LIMIT_BYTES, read_head
from subclaw.machines.visits.health import Health
from subclaw.machines.visits.pages import NO_REQUEST, answer_with
from subclaw.machines.visits.serving import Serving
from subclaw.sockets import bind_unix

SOCKETS_PER_TENANT = 32
VISITS_PER_TENANT = 2_048
"""How many visits of a tenant's may be there at once, those that wait for others to end among them."""

BACKLOG = 4_096


class Forwards:
    """The forward sockets of all tenants. All tasks run in the group that is given."""

    def __init__(
        self, folder: Path, group_id: int | None, group: asyncio.TaskGroup, serving: Serving, health: Health
    ) -> None:
        self._folder = folder
        self._group_id = group_id
        self._group = group
        self._serving = serving
        self._health = health
        self._servers: dict[tuple[TenantId, int], asyncio.Server] = {}
        self._visits: dict[TenantId, set[asyncio.Task[None]]] = {}
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
                server = await asyncio.start_unix_server(
                    accept, sock=listening, limit=HEAD_LIMIT_BYTES, backlog=BACKLOG
                )
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
            self._health.forget(owner, port)
        for task in self._visits.get(tenant_id, ()):
            task.cancel()

    async def close(self) -> None:
        """Close every socket and connection."""
        for tenant_id in {owner for owner, _ in self._servers} | set(self._visits):
            await self.remove(tenant_id)

    def _path(self, tenant_id: TenantId, port: int) -> Path:
        return self._folder / f"{int(tenant_id)}-{port}.sock"

    def _accept(
        self, tenant_id: TenantId, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Begin a visit's task, unless the tenant has too many."""
        visits = self._visits.setdefault(tenant_id, set())
        if len(visits) >= VISITS_PER_TENANT:
            writer.transport.abort()
            return
        task = self._group.create_task(self._visit(tenant_id, port, reader, writer))
        visits.add(task)
        task.add_done_callback(lambda done: self._end(tenant_id, done))

    def _end(self, tenant_id: TenantId, task: asyncio.Task[None]) -> None:
        visits = self._visits[tenant_id]
        visits.discard(task)
        if not visits:
            del self._visits[tenant_id]
            self._serving.forget(tenant_id)

    async def _visit(
        self, tenant_id: TenantId, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one visit. A connection is one: the router keeps none."""
        try:
            if head := await read_head(reader):
                answer = await self._serving.serve(tenant_id, port, Caller(head=head, reader=reader, writer=writer))
                if answer is not None:
                    await answer_with(answer, reader, writer)
        except Invalid:
            await answer_with(NO_REQUEST, reader, writer)
        except OSError:
            pass  # whoever connected has gone
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
