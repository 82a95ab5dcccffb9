"""Children of process 1: started with an ordinary chance to be killed for memory, and reaped, whoever's they were."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from subclaw_guest.groups import CommandGroups

HOME = "/home/agent"
ENVIRONMENT = {
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/bash",
    "TERM": "dumb",
    "USER": "root",
}
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Child:
    """A running child, in a session and process group of its own. `output` is the read end of its stdout and stderr."""

    process_id: int
    output: int
    exited: asyncio.Future[int]

    def kill(self) -> None:
        """End the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process_id, signal.SIGKILL)


class Processes:
    """All children, each started with `environment`. As process 1 the agent inherits every orphan, so it waits for any
    child there is."""

    def __init__(self, groups: CommandGroups) -> None:
        self.environment = dict(ENVIRONMENT)
        self._groups = groups
        self._exits: dict[int, asyncio.Future[int]] = {}

    def start(
        self, arguments: list[str | bytes], *, folder: str = HOME, environment: Mapping[str, str] = NO_VARIABLES
    ) -> Child:
        """Start a program in a control group of its own, its stdout and stderr in one pipe. Raises `OSError`.

        It has the variables of `environment` beside those that every program has, which these do not change.
        """
        read_end, write_end = os.pipe()
        try:
            os.set_blocking(read_end, False)
            with ordinary_out_of_memory_score():
                process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=write_end,
                    stderr=write_end,
                    cwd=folder,
                    env={**environment, **self.environment},
                    start_new_session=True,
                )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._groups.take(process.pid)
        # `reap` waits for every child, so the Popen object must not.
        process.returncode = 0
        return Child(process_id=process.pid, output=read_end, exited=self._exit_of(process.pid))

    def fork(self, function: Callable[[], None]) -> asyncio.Future[int]:
        """Run a function in a copy of this process; return its exit status to come: 0, or 1 if the function raised."""
        process_id = os.fork()
        if not process_id:
            status = 1
            try:
                function()
                status = 0
            finally:
                os._exit(status)
        return self._exit_of(process_id)

    def under_way(self) -> frozenset[int]:
        """Return the children that have not ended. Each that `start` started leads a session of the same number."""
        return frozenset(self._exits)

    def _exit_of(self, process_id: int) -> asyncio.Future[int]:
        exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._exits[process_id] = exited
        return exited

    def reap(self) -> None:
        """Wait for every child that has ended. Called on SIGCHLD, in the event loop."""
        while True:
            try:
                process_id, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not process_id:
                return
            exited = self._exits.pop(process_id, None)
            if exited is not None and not exited.done():
                code = os.waitstatus_to_exitcode(status)
                exited.set_result(code if code >= 0 else 128 - code)


@contextlib.contextmanager
def ordinary_out_of_memory_score() -> Iterator[None]:
    """Let a child inherit a score of 0, not the agent's: else the kernel would find nothing to kill but the machine."""
    set_out_of_memory_score(0)
    try:
        yield
    finally:
        set_out_of_memory_score(-1000)


def set_out_of_memory_score(score: int) -> None:
    """Tell the kernel how readily to end this process when memory runs out."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


async def read_some(descriptor: int, limit_bytes: int = 65_536) -> bytes:
    """Read what there is from a non-blocking descriptor, waiting for the first byte. Empty at the end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(descriptor, limit_bytes)
        except BlockingIOError:
            ready = asyncio.Event()
            loop.add_reader(descriptor, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(descriptor)
