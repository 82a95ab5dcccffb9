"""QEMU's monitor (QMP): what a machine's host tells QEMU. Everything here raises `Unavailable` if QEMU does not obey.

Source: QEMU 7.2's QMP reference manual.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from qemu.qmp import Message, QMPClient, QMPError

from subclaw.core.errors import Unavailable
from subclaw.machines.disks.disk import open_disk
from subclaw.machines.qemu.command_line import CONSOLE, DISK_NODE

ANSWER_S = 20.0
POLL_S = 0.001
TAIL_BYTES = 4_096
TENANTS_DISK = f"{DISK_NODE}-tenant"
SAVE_SET, DISK_SET = 8, 9
"""Numbers of the sets in which QEMU keeps descriptors that it is given while it runs."""


class Monitor:
    """A connection to one QEMU. One call at a time.

    `host_full` says that QEMU has stopped the processor because the host's disk is full; `on_full` is called then.
    """

    def __init__(self, client: QMPClient, on_full: Callable[[], None]) -> None:
        self.host_full = False
        self._client = client
        self._on_full = on_full
        # The client would keep every event for ever, and a machine can have QEMU tell of one each second.
        client.events.event_filter = self._heard

    async def stop(self) -> None:
        """Stop the processor."""
        await self._execute("stop")

    async def go_on(self) -> None:
        """Let the processor run."""
        await self._execute("cont")

    async def load(self, descriptor: int) -> None:
        """Load the state of the devices from a file that QEMU was started with, and leave the processor stopped."""
        await self._ignore_shared_memory()
        await self._execute("migrate-incoming", {"uri": f"fd:{descriptor}"})
        async with limited():
            while (await self._execute("query-status"))["status"] == "inmigrate":  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)  # QEMU has no event for it that comes without a race
        if (state := await self._execute("query-migrate")).get("status") not in (None, "completed"):
            raise Unavailable("The machine could not be restored.", internal=f"incoming: {state}")

    async def save_devices_beside_shared_memory(self, descriptor: int) -> None:
        """Save the state of the devices of a stopped machine whose memory is a file that it writes to."""
        await self._ignore_shared_memory()
        self._client.send_fd_scm(descriptor)
        await self._execute("getfd", {"fdname": "save"})
        await self._execute("migrate", {"uri": "fd:save"})
        async with limited():
            # Before it begins the status is "none", which is not the end.
            while (state := await self._execute("query-migrate")).get("status") != "completed":
                if state.get("status") in ("failed", "cancelled"):
                    raise Unavailable("The machine could not be saved.", internal=f"outgoing: {state}")
                await asyncio.sleep(POLL_S)

    async def save_devices(self, descriptor: int) -> None:
        """Save the state of a stopped machine's devices and none of its memory. The file is open for writing only."""
        self._client.send_fd_scm(descriptor)
        await self._execute("add-fd", {"fdset-id": SAVE_SET})
        await self._execute("xen-save-devices-state", {"filename": f"/dev/fdset/{SAVE_SET}"})

    async def give_disk(self, disk: Path) -> None:
        """Put a tenant's disk behind the drive of a machine that was started without one.

        Raises `OSError`, `Conflict`.
        """
        descriptor = open_disk(disk)
        try:
            self._client.send_fd_scm(descriptor)
            await self._execute("add-fd", {"fdset-id": DISK_SET})
        finally:
            os.close(descriptor)
        file = {"driver": "file", "filename": f"/dev/fdset/{DISK_SET}", "node-name": TENANTS_DISK, "discard": "unmap"}
        await self._execute("blockdev-add", file)
        raw = {"driver": "raw", "node-name": DISK_NODE, "file": TENANTS_DISK, "discard": "unmap"}
        await self._execute("blockdev-reopen", {"options": [raw]})
        await self._execute("blockdev-del", {"node-name": f"{DISK_NODE}-file"})

    async def tell_disk_size(self, size_bytes: int) -> None:
        """Tell the machine how large its disk is: a restored one believes that it is as large as the template's."""
        await self._execute("block_resize", {"node-name": DISK_NODE, "size": size_bytes})

    async def console(self) -> str:
        """Return the end of what the machine wrote on its console, or nothing if QEMU does not tell."""
        with contextlib.suppress(Unavailable):
            return str(await self._execute("ringbuf-read", {"device": CONSOLE, "size": TAIL_BYTES}))[-TAIL_BYTES:]
        return ""

    def _heard(self, event: Message) -> bool:
        """Take notice of an event, and say that it need not be kept."""
        data = event.get("data")
        if event.get("event") == "BLOCK_IO_ERROR" and isinstance(data, dict) and data.get("nospace") is True:
            self.host_full = True
            self._on_full()
        return False

    async def _ignore_shared_memory(self) -> None:
        capability = {"capability": "x-ignore-shared", "state": True}
        await self._execute("migrate-set-capabilities", {"capabilities": [capability]})

    async def _execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        try:
            async with limited():
                return await self._client.execute(command, arguments)
        except (QMPError, OSError, EOFError) as error:
            raise Unavailable("The machine does not obey.", internal=f"QEMU, {command}: {error}") from error


@asynccontextmanager
async def limited() -> AsyncIterator[None]:
    """Bound what QEMU may take. Raises `Unavailable`."""
    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except TimeoutError as error:
        raise Unavailable("The machine does not obey.", internal="QEMU does not answer in time") from error


@asynccontextmanager
async def connected(end: socket.socket, on_full: Callable[[], None]) -> AsyncIterator[Monitor]:
    """Connect to the monitor. On the way out QEMU must have ended, or be told to. Raises `Unavailable`."""
    client = QMPClient()
    monitor = Monitor(client, on_full)
    try:
        async with limited():
            await client.connect(end)
    except (QMPError, OSError, EOFError) as error:
        raise Unavailable("The machine could not be started.", internal=f"QEMU's monitor: {error}") from error
    try:
        yield monitor
    finally:
        # The process is gone, so the connection is broken, which the client says by raising.
        with contextlib.suppress(QMPError, OSError, EOFError):
            await client.disconnect()
