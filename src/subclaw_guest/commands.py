"""Running a shell command.

A command has ended when its shell has. What it wrote until then is in the pipe, so it is read without waiting; what
processes in the background write later is read and thrown away, so that they neither hold the call up nor stop.
"""

import asyncio
import contextlib
import os

from subclaw_guest.processes import Child, Processes
from subclaw_guest.refusals import Reason, Refused

TEXT_LIMIT_BYTES = 120_000
"""The kernel takes 128 KiB in one argument."""
PIPE_BYTES = 65_536
KILL_GRACE_S = 2.0


class Kept:
    """The first half and the last half of a limit; the rest is counted and thrown away."""

    def __init__(self, limit_bytes: int) -> None:
        self._head_limit_bytes = limit_bytes - limit_bytes // 2
        self._tail_limit_bytes = limit_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0

    def add(self, data: bytes) -> None:
        """Take more output."""
        self.total_bytes += len(data)
        room = self._head_limit_bytes - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        # Cut seldom, so that small pieces do not cost a copy of the whole tail each.
        if len(self._tail) > 2 * self._tail_limit_bytes + PIPE_BYTES:
            self._cut()

    def content(self) -> bytes:
        """Return what is kept, at most the limit."""
        self._cut()
        return bytes(self._head + self._tail)

    def _cut(self) -> None:
        del self._tail[: max(0, len(self._tail) - self._tail_limit_bytes)]


class Output:
    """Reads a child's output as it comes: into `kept` while the command runs, then nowhere."""

    def __init__(self, descriptor: int, kept: Kept) -> None:
        self._descriptor = descriptor
        self._kept: Kept | None = kept
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
        elif self._kept is not None:
            self._kept.add(data)
        return len(data)

    def finish(self) -> None:
        """Take what is in the pipe now; from here on nothing is kept."""
        left = PIPE_BYTES
        while self._descriptor >= 0 and left > 0 and (size := self._read()):
            left -= size
        self._kept = None


async def run(processes: Processes, text: bytes, *, timeout_s: float, limit_bytes: int) -> tuple[int | None, Kept]:
    """Run `sh -c text`; return its exit status, None if its time ran out, and its output.

    The whole process group is killed when the time is over or the call is cancelled. Raises `Refused` or `OSError`.
    """
    if b"\0" in text:
        raise Refused(Reason.BAD_REQUEST)
    child = processes.start([b"/bin/sh", b"-c", text])
    kept = Kept(limit_bytes)
    output = Output(child.output, kept)
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(child.exited), kept
    except TimeoutError:
        await end(child)
        return None, kept
    except asyncio.CancelledError:
        child.kill()
        raise
    finally:
        output.finish()


async def end(child: Child) -> None:
    """Kill a child's process group and wait a moment for the child to be gone."""
    child.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_GRACE_S):
            await asyncio.shield(child.exited)
