"""Process 1 of a machine: answers the host's calls, each in a task of its own, and reaps what ends."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from subclaw_guest import setup
from subclaw_guest.archive import archive
from subclaw_guest.commands import TEXT_LIMIT_BYTES, run
from subclaw_guest.connect import connect
from subclaw_guest.files import Replacement, read
from subclaw_guest.frames import Kind
from subclaw_guest.link import Link, LinkClosed, Stream
from subclaw_guest.port import open_port
from subclaw_guest.processes import Processes, set_out_of_memory_score
from subclaw_guest.refusals import Reason, Refused, reason_of
from subclaw_guest.search import encode, search

CALLS_AT_ONCE = 64
READ_BYTES = 262_144
Fields = dict[str, Any]
"""The JSON object of a request or a result: the host checks what it sends, and trusts nothing that it gets."""
Call = Callable[[Stream, Fields], Awaitable[Fields]]


class Agent:
    """The calls that are under way."""

    def __init__(self, group: asyncio.TaskGroup, processes: Processes) -> None:
        self._group = group
        self._processes = processes
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._calls: dict[str, Call] = {
            "ping": self._ping,
            "setup": self._setup,
            "sync": self._sync,
            "run": self._run,
            "read": self._read,
            "write": self._write,
            "search": self._search,
            "archive": self._archive,
            "connect": self._connect,
        }

    def accept(self, stream: Stream, request: bytes) -> None:
        """Start a call."""
        task = self._group.create_task(self._answer(stream, request))
        self._tasks[stream.number] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream.number, None))

    def cancel(self, stream: Stream) -> None:
        """End a call that the host no longer wants."""
        if task := self._tasks.get(stream.number):
            task.cancel()

    async def _answer(self, stream: Stream, request: bytes) -> None:
        try:
            if len(self._tasks) > CALLS_AT_ONCE:
                raise Refused(Reason.BUSY)
            fields = json.loads(request)
            result = await self._calls[fields["call"]](stream, fields)
            kind = Kind.RESULT
        except Refused as refused:
            kind, result = Kind.ERROR, {"reason": refused.reason.value, "detail": refused.detail}
        except OSError as error:
            kind, result = Kind.ERROR, {"reason": reason_of(error).value, "detail": ""}
        except LinkClosed:
            return
        except (KeyError, TypeError, ValueError):
            kind, result = Kind.ERROR, {"reason": Reason.BAD_REQUEST.value, "detail": ""}
        except Exception:  # one call's failure must not be the machine's, which process 1's end would be
            kind, result = Kind.ERROR, {"reason": Reason.FAILED.value, "detail": ""}
        with contextlib.suppress(LinkClosed):
            await stream.finish(kind, json.dumps(result).encode())

    async def _ping(self, stream: Stream, fields: Fields) -> Fields:
        return {"nonce": fields["nonce"]}

    async def _setup(self, stream: Stream, fields: Fields) -> Fields:
        setup.enter(
            setup.Identity(
                hostname=fields["hostname"],
                clock_ns=fields["clock_ns"],
                entropy=bytes.fromhex(fields["entropy"]),
            )
        )
        return {"nonce": fields["nonce"]}

    async def _sync(self, stream: Stream, fields: Fields) -> Fields:
        await asyncio.to_thread(os.sync)
        return {}

    async def _run(self, stream: Stream, fields: Fields) -> Fields:
        text = bytearray()
        while (piece := await stream.receive()) is not None:
            text += piece
            if len(text) > TEXT_LIMIT_BYTES:
                raise Refused(Reason.TOO_LARGE)
        status, kept = await run(
            self._processes, bytes(text), timeout_s=fields["timeout_s"], limit_bytes=fields["limit_bytes"]
        )
        await stream.send(kept.content())
        return {"exit_status": status, "output_bytes": kept.total_bytes}

    async def _read(self, stream: Stream, fields: Fields) -> Fields:
        offset, limit = fields["offset_bytes"], fields["limit_bytes"]
        while True:
            piece, size = await asyncio.to_thread(read, fields["path"], offset, min(limit, READ_BYTES))
            if not piece:
                return {"size_bytes": size}
            await stream.send(piece)
            offset += len(piece)
            limit -= len(piece)

    async def _write(self, stream: Stream, fields: Fields) -> Fields:
        replacement = await asyncio.to_thread(Replacement, fields["path"])
        try:
            while (piece := await stream.receive()) is not None:
                await asyncio.to_thread(replacement.add, piece)
            await asyncio.to_thread(replacement.commit)
        finally:
            replacement.close()
        return {}

    async def _search(self, stream: Stream, fields: Fields) -> Fields:
        found = await search(self._processes, fields["pattern"], fields["path"], fields["limit"])
        await stream.send(encode(found))
        return {"more": found.more}

    async def _archive(self, stream: Stream, fields: Fields) -> Fields:
        return {"size_bytes": await archive(self._processes, stream, fields["path"], fields["limit_bytes"])}

    async def _connect(self, stream: Stream, fields: Fields) -> Fields:
        await connect(stream, fields["port"])
        return {}


async def serve() -> None:
    """Answer the host for as long as the machine runs."""
    read_port, write_port = await open_port()
    processes = Processes()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, processes.reap)
    async with asyncio.TaskGroup() as group:
        agent = Agent(group, processes)
        await Link(write_port, on_open=agent.accept, on_cancel=agent.cancel).pump(read_port)


def main() -> None:
    """Run as process 1. If this ever returns or raises, the kernel panics and the machine stops."""
    setup.prepare()
    set_out_of_memory_score(-1000)
    asyncio.run(serve())
