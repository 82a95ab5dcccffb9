"""Connecting a stream to a port on the machine's own loopback address."""

import asyncio
import contextlib
import errno
import time
from collections.abc import Sequence

from subclaw_guest.link import Stream

PIECE_BYTES = 32_768
LOOK_S = 0.1
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENS = "0A"
REACHED = ("0100007F", "00000000", "0" * 32, "0000000000000000FFFF00000100007F")
"""127.0.0.1 and every address, of IPv4 and of IPv6, as those tables write them."""


async def connect(stream: Stream, port: int) -> None:
    """Pipe both ways until both have ended. An end in one direction leaves the other open. Raises `OSError`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=PIECE_BYTES)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(inward(stream, writer))
            group.create_task(outward(reader, stream))
    except* OSError as errors:
        raise ConnectionAbortedError("the connection broke") from errors
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def until_listening(port: int, timeout_s: float) -> None:
    """Wait until a program listens on a port. Raises `OSError` if none does in time.

    It is not connected to: a program that takes one connection alone would have had it.
    """
    deadline_s = time.monotonic() + timeout_s
    while not is_listening(port):
        if time.monotonic() >= deadline_s:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nothing listens")
        await asyncio.sleep(LOOK_S)


def is_listening(port: int, tables: Sequence[str] = TABLES) -> bool:
    """Say whether a program listens on a port where `connect` reaches it, by the kernel's tables (proc(5))."""
    listening = f":{port:04X}"
    for table in tables:
        with open(table, encoding="ascii") as file:
            next(file)
            for line in file:
                _, local, _, state, *_ = line.split(None, 4)
                address, _, _ = local.partition(":")
                if state == LISTENS and local.endswith(listening) and address in REACHED:
                    return True
    return False


async def inward(stream: Stream, writer: asyncio.StreamWriter) -> None:
    """Host to program."""
    while (piece := await stream.receive()) is not None:
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def outward(reader: asyncio.StreamReader, stream: Stream) -> None:
    """Program to host."""
    while piece := await reader.read(PIECE_BYTES):
        await stream.send(piece)
    await stream.end()
