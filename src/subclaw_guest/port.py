"""The agent's end of the virtio-serial port."""

import asyncio
import os

from subclaw_guest.link import Read, Write
from subclaw_guest.processes import read_some

NAME = "org.subclaw.agent"
PORTS = "/sys/class/virtio-ports"
NOBODY_THERE_S = 0.02


def find() -> str:
    """Return the device of the port with our name. Raises `FileNotFoundError`."""
    for entry in os.listdir(PORTS):
        with open(f"{PORTS}/{entry}/name", encoding="ascii") as file:
            if file.read().strip() == NAME:
                return f"/dev/{entry}"
    raise FileNotFoundError(NAME)


async def open_port() -> tuple[Read, Write]:
    """Open the port and return how to read and write it."""
    descriptor = os.open(find(), os.O_RDWR | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(os.dup(descriptor), "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)

    async def read() -> bytes:
        # The port reads as empty while the host has not opened its end, and there is no event to wait for.
        while not (data := await read_some(descriptor)):  # noqa: ASYNC110
            await asyncio.sleep(NOBODY_THERE_S)
        return data

    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    return read, write
