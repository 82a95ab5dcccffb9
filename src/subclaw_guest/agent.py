"""Process 1 of a machine: answers the host's calls, each in a task of its own, and reaps what ends."""

import asyncio
import concurrent.futures.thread  # noqa: F401 (asyncio imports it at its first use, which would be a tenant's)
import contextlib
import gc
import json
import signal

from subclaw_guest import setup
from subclaw_guest.calls import Calls
from subclaw_guest.frames import Kind
from subclaw_guest.groups import CommandGroups
from subclaw_guest.link import Link, LinkClosed, Stream
from subclaw_guest.port import open_port
from subclaw_guest.processes import Processes, set_out_of_memory_score
from subclaw_guest.refusals import Reason, Refused, reason_of

CALLS_AT_ONCE = 64
CONNECTIONS_AT_ONCE = 256
"""Connections to programs are counted apart, so that visitors leave room for whoever works here."""


class Agent:
    """The calls that are under way."""

    def __init__(self, group: asyncio.TaskGroup, processes: Processes) -> None:
        self._group = group
        self._calls = Calls(processes).by_name
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._connections: set[int] = set()

    def accept(self, stream: Stream, request: bytes) -> None:
        """Start a call."""
        task = self._group.create_task(self._answer(stream, request))
        self._tasks[stream.number] = task
        task.add_done_callback(lambda _: self._forget(stream.number))

    def _forget(self, number: int) -> None:
        self._tasks.pop(number, None)
        self._connections.discard(number)

    def cancel(self, stream: Stream) -> None:
        """End a call that the host no longer wants."""
        if task := self._tasks.get(stream.number):
            task.cancel()

    def _make_sure_of_room(self, stream: Stream, *, is_connection: bool) -> None:
        """Count a call. Raises `Refused` if there are too many of its kind."""
        if is_connection:
            self._connections.add(stream.number)
        connections = len(self._connections)
        count, limit = connections, CONNECTIONS_AT_ONCE
        if not is_connection:
            count, limit = len(self._tasks) - connections, CALLS_AT_ONCE
        if count > limit:
            raise Refused(Reason.BUSY)

    async def _answer(self, stream: Stream, request: bytes) -> None:
        try:
            fields = json.loads(request)
            self._make_sure_of_room(stream, is_connection=fields["call"] == "connect")
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


async def serve() -> None:
    """Answer the host for as long as the machine runs."""
    read_port, write_port = await open_port()
    processes = Processes(CommandGroups())
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, processes.reap)
    async with asyncio.TaskGroup() as group:
        agent = Agent(group, processes)
        # What is here now stays: collections need not look at it again, nor write to its memory, which clones share.
        gc.collect()
        gc.freeze()
        await Link(write_port, on_open=agent.accept, on_cancel=agent.cancel).pump(read_port)


def main() -> None:
    """Run as process 1. If this ever returns or raises, the kernel panics and the machine stops."""
    setup.prepare()
    set_out_of_memory_score(-1000)
    asyncio.run(serve())
