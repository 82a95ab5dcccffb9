"""One running machine, from the start of its QEMU process to the end of it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from qemu.qmp import QMPClient, QMPError

from subclaw.core.errors import Corrupt, SubclawError, Unavailable
from subclaw.machines.guest import Guest, GuestBroken
from subclaw.machines.identity import new_identity
from subclaw.machines.qemu import CONSOLE, Launch, Qemu, spawn
from subclaw_guest.frames import FrameError
from subclaw_guest.link import Link, LinkClosed, Write

MONITOR_S = 20.0
READ_BYTES = 65_536
TAIL_BYTES = 4_096

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A machine that is a tenant's and answers. `gone` is set when it has stopped or broken its protocol."""

    process_id: int
    guest: Guest
    gone: asyncio.Event


@asynccontextmanager
async def running(
    launch: Launch,
    group: asyncio.TaskGroup,
    *,
    hostname: str,
    boot_timeout_s: float,
    on_spawned: Callable[[int], None] = lambda process_id: None,
) -> AsyncIterator[Running]:
    """Start a machine, boot it and make it a tenant's; kill it on the way out and wait until it is gone.

    Its tasks run in `group` and end with it. `on_spawned` is called with QEMU's process id before anything else. Raises
    `Unavailable` if the machine does not come up. Nothing is synced on the way out: do so first.
    """
    qemu = await spawn(launch)
    gone = asyncio.Event()
    errors = Tail()
    tasks = [group.create_task(errors.keep(qemu.process.stderr))]
    try:
        on_spawned(qemu.process.pid)
        async with monitor(qemu, errors) as client, agent_channel(qemu) as (reader, write):
            link = Link(write)
            tasks.append(group.create_task(pump(link, reader, gone)))
            guest = Guest(link)
            await boot(guest, client, errors, hostname, boot_timeout_s)
            yield Running(process_id=qemu.process.pid, guest=guest, gone=gone)
    finally:
        await end(qemu)
        for task in tasks:
            task.cancel()
        qemu.agent.close()
        qemu.monitor.close()


@asynccontextmanager
async def agent_channel(qemu: Qemu) -> AsyncIterator[tuple[asyncio.StreamReader, Write]]:
    """Give the host's end of the agent's port, and end QEMU before it is closed."""
    reader, writer = await asyncio.open_unix_connection(sock=qemu.agent, limit=READ_BYTES)

    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    try:
        yield reader, write
    finally:
        await end(qemu)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def pump(link: Link, reader: asyncio.StreamReader, gone: asyncio.Event) -> None:
    """Hand the agent's frames on until the machine is gone."""
    try:
        await link.pump(lambda: reader.read(READ_BYTES))
    except FrameError as error:
        logger.warning("a machine breaks its protocol and is ended: %s", error)
    except LinkClosed:
        pass
    finally:
        gone.set()


@asynccontextmanager
async def monitor(qemu: Qemu, errors: "Tail") -> AsyncIterator[QMPClient]:
    """Connect to QEMU's monitor (QMP). Raises `Unavailable`."""
    client = QMPClient()
    try:
        async with asyncio.timeout(MONITOR_S):
            await client.connect(qemu.monitor)
    except (QMPError, OSError, TimeoutError) as error:
        await end(qemu)
        said = f"QEMU's monitor: {error}; QEMU: {await errors.whole_text()}"
        raise Unavailable("The machine could not be started.", internal=said) from error
    try:
        yield client
    finally:
        await end(qemu)
        # The process is gone, so the connection is broken, which the client says by raising.
        with contextlib.suppress(QMPError, OSError, EOFError):
            await client.disconnect()


async def boot(guest: Guest, client: QMPClient, errors: "Tail", hostname: str, timeout_s: float) -> None:
    """Wait for the agent and make the machine a tenant's.

    Raises `Unavailable`, with what QEMU and the kernel said, or `Corrupt`.
    """
    try:
        await guest.ping(timeout_s=timeout_s)
        await guest.set_up(new_identity(hostname), timeout_s=timeout_s)
    except Corrupt:
        raise
    except (GuestBroken, SubclawError) as error:
        said = f"{error}; QEMU: {errors.text()}; console: {await console(client)}"
        raise Unavailable("The machine did not come up.", internal=said) from error


async def console(client: QMPClient) -> str:
    """Return the end of what the machine wrote on its console, or nothing if QEMU does not tell."""
    try:
        async with asyncio.timeout(1.0):
            text = await client.execute("ringbuf-read", {"device": CONSOLE, "size": TAIL_BYTES})
    except (QMPError, OSError, TimeoutError, EOFError):
        return ""
    return str(text)[-TAIL_BYTES:]


async def end(qemu: Qemu) -> None:
    """Kill QEMU and wait until it is gone: only then may its disk be used again."""
    if qemu.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            qemu.process.kill()
        await qemu.process.wait()


class Tail:
    """Keeps the end of what a process writes."""

    def __init__(self) -> None:
        self._kept = b""
        self._ended = asyncio.Event()

    async def keep(self, reader: asyncio.StreamReader | None) -> None:
        """Read until the end."""
        while reader is not None and (data := await reader.read(TAIL_BYTES)):
            self._kept = (self._kept + data)[-TAIL_BYTES:]
        self._ended.set()

    async def whole_text(self) -> str:
        """Return what was kept once the process, which must have ended, is read to its end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._ended.wait()
        return self.text()

    def text(self) -> str:
        """Return what was kept."""
        return self._kept.decode(errors="replace")
