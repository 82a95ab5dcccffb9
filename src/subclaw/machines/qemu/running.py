"""One QEMU process with a machine in it, from its start to its end. What the machine becomes is decided elsewhere."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.machines.guest.guest import Guest
from subclaw.machines.qemu.command_line import Launch
from subclaw.machines.qemu.launch import Qemu, end, spawn
from subclaw.machines.qemu.monitor import Monitor, connected
from subclaw_guest.frames import FrameError
from subclaw_guest.link import Link, LinkClosed, Write

READ_BYTES = 65_536
TAIL_BYTES = 4_096

logger = logging.getLogger(__name__)

Spawned = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A machine whose QEMU runs. `gone` is set when it has stopped, broken its protocol or found the host's disk full.

    `process_id` is QEMU's own. `link` carries the calls to the agent, which may not answer yet. `incoming` is QEMU's
    number of the file that the state of the devices is to be loaded from.
    """

    process_id: int
    link: Link
    guest: Guest
    monitor: Monitor
    incoming: int | None
    gone: asyncio.Event


@asynccontextmanager
async def running(
    launch: Launch, group: asyncio.TaskGroup, *, last_stream: int = 0, on_spawned: Spawned = lambda process_id: None
) -> AsyncIterator[Running]:
    """Start QEMU and connect to it; kill it on the way out and wait until it is gone.

    Its tasks run in `group` and end with it. `on_spawned` is given the first process in the jail before QEMU begins.
    `last_stream` is the last stream that was opened to the agent in its life before. A failure in the body is logged
    with what QEMU said. Raises `Unavailable` if QEMU does not start. Nothing is synced on the way
    out: do so first.
    """
    qemu = await spawn(launch, on_spawned)
    gone = asyncio.Event()
    errors = Tail()
    tasks = [group.create_task(errors.keep(qemu.launcher.stderr))]
    try:
        async with agent_channel(qemu) as (reader, write):
            link = Link(write, last_number=last_stream)
            async with connected(qemu.monitor, partial(give_up, launch.name, link, gone)) as monitor:
                tasks.append(group.create_task(pump(link, reader, gone)))
                try:
                    yield Running(
                        process_id=only_child(qemu.first_process_id),
                        link=link,
                        guest=Guest(link),
                        monitor=monitor,
                        incoming=qemu.incoming,
                        gone=gone,
                    )
                finally:
                    await end(qemu)
    except SubclawError as error:
        await end(qemu)
        logger.warning("%s: %s; QEMU: %s", launch.name, error.internal, await errors.whole_text())
        raise
    finally:
        await end(qemu)
        for task in tasks:
            task.cancel()
        qemu.close()


def only_child(process_id: int) -> int:
    """Return QEMU's process id, which is the jail's first process's only child. Raises `Unavailable`."""
    try:
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text("ascii").split()
        return int(children[0])
    except (OSError, IndexError) as error:
        raise Unavailable("The machine could not be started.", internal="QEMU has ended at once") from error


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


def give_up(name: str, link: Link, gone: asyncio.Event) -> None:
    """Let nobody wait for a machine that QEMU has stopped in the middle of a write."""
    logger.error("%s is ended: the host's disk is full", name)
    gone.set()
    link.close()


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
        return self._kept.decode(errors="replace")
