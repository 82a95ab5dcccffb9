"""A machine that serves a site as a declared service, and a Caddy before it, for tests and benchmarks of visits."""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real import visited_server
from tests.real.caddy_process import NOBODY, Answer, RunningCaddy, parse_answer, running_caddy
from tests.real.machines import Host, running_host, status_of

from subclaw.core.machine import Command
from subclaw.core.route import Route
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress

PROGRAM = Path(visited_server.__file__).read_bytes()
PORT = 8000
VISIT_S = 100.0
HOSTNAME = "site.localhost"


@contextmanager
def visited_host(address: DatabaseAddress, **settings: Any) -> Iterator[Host]:
    """Run a host whose doors are open to Caddy's user."""
    folder = Path(tempfile.mkdtemp(prefix="visits-"))
    folder.chmod(0o755)
    try:
        with running_host(folder, address, forward_group_id=NOBODY, **settings) as host:
            yield host
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A tenant's site behind a Caddy."""

    tenant_id: TenantId
    client: HostClient
    caddy: RunningCaddy

    async def visit(self, target: str = "/", *, source: str = "127.0.0.1", **more: Any) -> Answer:
        """Visit the site from an address of this host's."""
        return await visit(self.caddy.settings.port, HOSTNAME, target, source=source, **more)

    async def sleep(self) -> None:
        """Put the machine to sleep."""
        await self.client.sleep(self.tenant_id)
        assert not await self.is_awake()

    async def is_awake(self) -> bool:
        """Say whether the machine is awake."""
        return self.tenant_id in {status.tenant_id for status in await self.client.statuses()}

    async def run(self, text: str) -> str:
        """Run a command in the machine."""
        return (await self.client.run(self.tenant_id, Command(text=text, timeout_s=60))).output.decode()

    async def declare(self, *services: Mapping[str, object]) -> None:
        """Declare services in place of those that there were."""
        await self.client.write_house(self.tenant_id, "services.json", json.dumps(services).encode())


@asynccontextmanager
async def site(host: Host, tenant: int = 1, *, folder: Path | None = None, serves: bool = True) -> AsyncIterator[Scene]:
    """Have a tenant's server run as a service and routed; the files of `folder` stand in for it."""
    async with HostClient(host.socket) as client, running_caddy() as caddy:
        scene = Scene(tenant_id=TenantId(tenant), client=client, caddy=caddy)
        door = caddy.settings.doors / "machine.sock"
        door.symlink_to((await client.forward(scene.tenant_id, PORT)).removeprefix("unix/"))
        await caddy.routes.put(Route(hostname=HOSTNAME, door=f"unix/{door}", folder=folder))
        if serves:
            await client.write(scene.tenant_id, "site.py", PROGRAM)
            await scene.declare({"name": "web", "command": "exec python3 site.py", "port": PORT})
            trial = await client.try_port(scene.tenant_id, PORT, HOSTNAME)
            assert trial.status == 200, trial
            async with asyncio.timeout(10):
                while (await scene.visit()).status != 200:
                    await asyncio.sleep(0.05)
        yield scene


async def visit(
    port: int,
    hostname: str,
    target: str = "/",
    *,
    method: str = "GET",
    source: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Make one request from an address of this host's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        length = {"Content-Length": str(len(body))} if body else {}
        lines = {"Host": hostname, "Connection": "close", **length, **(headers or {})}
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(head.encode() + b"\r\n" + body)
        async with asyncio.timeout(VISIT_S):
            return parse_answer(method, await reader.read())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def generation(host: Host, tenant: int = 1) -> int:
    """Return which start of a machine this is; it must be awake."""
    return status_of(host, tenant).generation
