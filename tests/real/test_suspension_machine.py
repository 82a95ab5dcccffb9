"""The machine of a tenant that is suspended: asleep, woken by no call and no visit, and then where it was."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.real.machines import Host, running_host, socket_at

from subclaw.core.errors import Denied
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.suspension import resume, suspend

ONE = TenantId(1)


def test_it_sleeps_through_calls_and_visits_and_goes_on_where_it_was(address: DatabaseAddress, tmp_path: Path) -> None:
    with running_host(tmp_path, address) as host:
        assert (
            host.run(ONE, "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >pid; echo kept >kept").exit_status
            == 0
        )
        host.use(lambda client: suspended(address, client))
        with pytest.raises(Denied, match="paused"):
            host.run(ONE, "true")
        assert visited(host).startswith(b"HTTP/1.1 503 ")
        assert host.machines() == []
        asyncio.run(resumed(address))
        assert host.run(ONE, "cat kept; kill -0 $(cat pid) && echo runs").output == b"kept\nruns\n"


async def suspended(address: DatabaseAddress, client: HostClient) -> None:
    async with open_database(address, Role.OPERATOR, size=1) as operator:
        await suspend(operator, "tenant-1", "")
    await client.sleep(ONE)


async def resumed(address: DatabaseAddress) -> None:
    async with open_database(address, Role.OPERATOR, size=1) as operator:
        await resume(operator, "tenant-1")


def visited(host: Host) -> bytes:
    """Return what a visitor of a port gets, who would wake the machine otherwise."""

    async def visit(client: HostClient) -> bytes:
        reader, writer = await asyncio.open_unix_connection(socket_at(await client.forward(ONE, 8000)))
        with contextlib.closing(writer):
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            return await reader.read()

    return host.use(visit)
