"""Connecting a stream to a port on the machine's own loopback address."""

import asyncio
import contextlib

from subclaw_guest.link import Stream

PIECE_BYTES = 32_768


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
