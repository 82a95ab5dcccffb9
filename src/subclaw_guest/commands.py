"""Running a shell command.

A command has ended when its shell has. What it wrote until then is in the pipe, so it is read without waiting; what
processes in the background write later is read and thrown away, so that they neither hold the call up nor stop.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping

from subclaw_guest.link import Write
from subclaw_guest.processes import NO_VARIABLES, Child, Processes
from subclaw_guest.refusals import Reason, Refused

TEXT_LIMIT_BYTES = 120_000
"""The kernel takes 128 KiB in one argument."""
PIPE_BYTES = 65_536
KILL_GRACE_S = 2.0


class Kept:
    """The first half and the last half of a limit; the rest is counted and thrown away."""

    def __init__(self, limit_bytes: int) -> None:
        self._head_room_bytes = limit_bytes - limit_bytes // 2
        self._tail_limit_bytes = limit_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0

    def add(self, data: bytes) -> None:
        """Take more output."""
        self.total_bytes += len(data)
        head = data[: self._head_room_bytes]
        self._head_room_bytes -= len(head)
        self._head += head
        self._tail += data[len(head) :]
        # Cut seldom, so that small pieces do not cost a copy of the whole tail each.
        if len(self._tail) > 2 * self._tail_limit_bytes + PIPE_BYTES:
            self._cut()

    def take_head(self) -> bytes:
        """Return what has come of the first half since this was last called."""
        head = bytes(self._head)
        self._head.clear()
        return head

    def tail(self) -> bytes:
        """Return the last half, or what has come after the first if that is less."""
        self._cut()
        return bytes(self._tail)

    def _cut(self) -> None:
        del self._tail[: max(0, len(self._tail) - self._tail_limit_bytes)]


class Output:
    """Reads a child's output as it comes: into `kept` while the command runs, then nowhere. `came` says when it did."""

    def __init__(self, descriptor: int, kept: Kept) -> None:
        self.came = asyncio.Event()
        self.finished = False
        self._descriptor = descriptor
        self._kept = kept
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> int:
        try:
            data = os.read(self._descriptor, PIPE_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        elif not self.finished:
            self._kept.add(data)
            self.came.set()
        return len(data)

    def finish(self) -> None:
        """Take what is in the pipe now; from here on nothing is kept."""
        left = PIPE_BYTES
        while self._descriptor >= 0 and left > 0 and (size := self._read()):
            left -= size
        self.finished = True
        self.came.set()


async def run(
    processes: Processes,
    text: bytes,
    send: Write,
    *,
    timeout_s: float,
    limit_bytes: int,
    environment: Mapping[str, str] = NO_VARIABLES,
) -> tuple[int | None, int]:
    """Run `sh -c text`; return its exit status, None if its time ran out, and how many bytes it put out.

    The first half of what is kept is sent as it comes, the last half at the end; a receiver that is slow holds nothing
    up. The whole process group is killed when the time is over or the call is cancelled. Raises `Refused` or `OSError`.
    """
    if b"\0" in text:
        raise Refused(Reason.BAD_REQUEST)
    child = processes.start([b"/bin/sh", b"-c", text], environment=environment)
    kept = Kept(limit_bytes)
    output = Output(child.output, kept)
    async with asyncio.TaskGroup() as group:
        group.create_task(send_head(output, kept, send))
        try:
            status = await exit_status(child, timeout_s)
        finally:
            output.finish()
    if tail := kept.tail():
        await send(tail)
    return status, kept.total_bytes


async def send_head(output: Output, kept: Kept, send: Write) -> None:
    """Send the first half of the output as it comes, until the command has ended."""
    finished = False
    while not finished:
        await output.came.wait()
        output.came.clear()
        finished = output.finished
        if head := kept.take_head():
            await send(head)


async def exit_status(child: Child, timeout_s: float) -> int | None:
    """Wait for a child to end, and end it if it does not in time: then it has no status."""
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(child.exited)
    except TimeoutError:
        await end(child)
        return None
    except asyncio.CancelledError:
        child.kill()
        raise


async def end(child: Child) -> None:
    """Kill a child's process group and wait a moment for the child to be gone."""
    child.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_GRACE_S):
            await asyncio.shield(child.exited)
