"""A running egress gateway for tests, with a key and sealed secrets of its own."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from subclaw.core.mail_relay import MailRelay
from subclaw.core.oauth import AccountBook
from subclaw.core.secret import SealedSecret
from subclaw.core.signature import Signature
from subclaw.core.tenant_egress import EgressBook
from subclaw.core.upstream import Upstream
from subclaw.egress.gateway import EgressSettings, ForControl, ForMachines, serve_egress
from subclaw.egress.keys import ensure_key, read_public_key
from subclaw.egress.limits import Limits
from subclaw.egress.seal import seal

DEADLINE_S = 15.0


def run(scenario: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a test's scenario in the loop that the gateway has in production, with a limit of time."""

    async def bounded() -> None:
        async with asyncio.timeout(4 * DEADLINE_S):
            await scenario()

    uvloop.run(bounded())


@asynccontextmanager
async def running_gateway(
    folder: Path,
    upstreams: Sequence[Upstream],
    secrets: Mapping[str, str],
    *,
    signatures: Mapping[str, Signature] | None = None,
    limits: Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    relays: Sequence[MailRelay] = (),
    book: EgressBook | None = None,
    accounts: AccountBook | None = None,
) -> AsyncIterator[Path]:
    """Serve the gateway in this loop; yields the path of its socket. With a book, it calls for tenants."""
    ensure_key(folder, os.getuid(), os.getgid())
    public_key = read_public_key(folder)
    sealed = [SealedSecret(name=name, sealed=seal(public_key, value, name)) for name, value in secrets.items()]

    async def load() -> Sequence[SealedSecret]:
        return sealed

    control = ForControl(
        socket_path=folder / "egress.sock",
        socket_gid=os.getgid(),
        upstreams=tuple(upstreams),
        load_secrets=load,
        signatures=signatures or {},
        limits=limits or Limits(),
        relays=tuple(relays),
    )
    machines = _for_machines(folder, book) if book else None
    settings = EgressSettings(
        key_folder=folder,
        control=control,
        machines=machines,
        accounts=accounts,
        ssl_context=ssl_context,
    )
    async with asyncio.TaskGroup() as group:
        gateway = group.create_task(serve_egress(settings))
        try:
            await _until_served(control.socket_path, gateway)
            yield control.socket_path
        finally:
            gateway.cancel()


def _for_machines(folder: Path, book: EgressBook) -> ForMachines:
    return ForMachines(socket_path=folder / "machines.sock", socket_gid=os.getgid(), host_user=os.getuid(), book=book)


async def talk(socket_path: Path, data: bytes) -> bytes:
    """Send bytes as they are and return everything until the gateway closes."""
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            received = bytearray()
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(65_536):
                    received += piece
            return bytes(received)
    finally:
        writer.close()


async def _until_served(socket_path: Path, gateway: asyncio.Task[None]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not gateway.done():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(socket_path)
                writer.close()
                return
            await asyncio.sleep(0.01)
