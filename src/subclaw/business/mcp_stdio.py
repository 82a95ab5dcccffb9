"""The way to an MCP server that is a process: lines of JSON-RPC over its pipes, each bounded, in a closed room.

The SDK's own transport reads a line of any length, and gives the process some of the host's environment.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import mcp_types as types
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from subclaw.business.confined import closed_environment, confined

LINE_LIMIT_BYTES = 4_000_000
MEMORY_LIMIT_BYTES = 2_000_000_000

log = logging.getLogger(__name__)


@asynccontextmanager
async def stdio_server(
    command: Sequence[str], environment: Mapping[str, str], *, path: str, hidden: Sequence[Path] = ()
) -> AsyncIterator[TransportStreams]:
    """Run a server for the block; yields the streams of its messages, which end when it does.

    Errors: `OSError` if it cannot be run.
    """
    process = await asyncio.create_subprocess_exec(
        *confined(command, hidden=hidden, memory_bytes=MEMORY_LIMIT_BYTES),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=closed_environment({"PATH": path, **environment}),
        limit=LINE_LIMIT_BYTES,
        start_new_session=True,
    )
    into, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, out_of = anyio.create_memory_object_stream[SessionMessage](0)
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def read() -> None:
        async with into:
            with suppress(ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError):  # a line that is too long
                while line := await stdout.readline():
                    if (message := _parsed(line)) is not None:
                        await into.send(message)

    async def write() -> None:
        async with out_of:
            with suppress(ConnectionError):
                async for each in out_of:
                    stdin.write(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                    await stdin.drain()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(write)
            yield incoming, outgoing
            group.cancel_scope.cancel()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (incoming, outgoing, into, out_of):
            stream.close()
        with anyio.CancelScope(shield=True):
            stdin.close()
            with suppress(ValueError):
                while await stdout.read(LINE_LIMIT_BYTES):
                    pass
            await process.wait()


def _parsed(line: bytes) -> SessionMessage | None:
    """Return a message; None for a line that is none, as some servers print what they do."""
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None
