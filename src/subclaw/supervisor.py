"""The supervisor: starts the processes of one box in order, keeps them running, and stops them in reverse.

Each runs as its own user, and ends when the supervisor does, however that ends.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from subclaw.core.errors import Unavailable

log = logging.getLogger(__name__)

LOG_LIMIT_BYTES = 5 * 1024 * 1024
LINE_LIMIT_BYTES = PIECE_BYTES = 64 * 1024
RESTART_DELAY_S = 0.2
RESTART_DELAY_LIMIT_S = 10.0
STABLE_AFTER_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process to run. `ready` returns once it serves; `user` is a system user, or None for the supervisor's own.

    `niceness` is how far it steps back for the others when there is not enough processor time for all (-20 to 19).
    `file_mask` is its umask; `capabilities` are what it keeps of root's rights, by setpriv's names. `stop_signal` asks
    it to end within `stop_timeout_s`.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], Awaitable[None]]
    user: str | None = None
    ready_timeout_s: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 20.0
    file_mask: int = 0o027
    capabilities: tuple[str, ...] = ()
    niceness: int = 0


def python_process(subject: str, number: int) -> list[str]:
    """Return the command of one of subclaw's own processes; `number` counts those of a kind from 0 on."""
    return [sys.executable, "-m", "subclaw", "serve", subject, *(["--number", str(number)] if number else [])]


def as_user(user: str) -> list[str]:
    """Return the command prefix that runs a program as another user, with nothing of the supervisor's rights."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]


def _kept(capabilities: Sequence[str]) -> list[str]:
    named = ",".join(f"+{capability}" for capability in capabilities)
    return [f"--inh-caps={named}", f"--ambient-caps={named}"] if named else []


@asynccontextmanager
async def running(process: Process, logs: Path) -> AsyncIterator[None]:
    """Run a process for the life of the block, starting it anew when it dies.

    Errors: `Unavailable` if it is not ready in time, with the last line that it said.
    """
    keeper = _Keeper(process, logs)
    await keeper.start()
    watch = asyncio.create_task(keeper.watch(), name=process.name)
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await keeper.stop()


class _Keeper:
    """One process, through its restarts."""

    def __init__(self, process: Process, logs: Path) -> None:
        self._process = process
        self._logs = logs
        self._last_line = ""
        self._running: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Spawn it and wait until it is ready."""
        process = self._process
        prefix = as_user(process.user) if process.user else ["setpriv"]
        self._running = await asyncio.create_subprocess_exec(
            *prefix,
            *_kept(process.capabilities),
            "--pdeathsig=KILL" if process.stop_signal != signal.SIGINT else "--pdeathsig=INT",
            "--",
            *process.command,
            env=dict(process.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            umask=process.file_mask,
            limit=PIECE_BYTES,
            cwd="/",
        )
        if process.niceness:
            give_way(self._running.pid, process.niceness)
        self._reader = asyncio.create_task(self._keep_log(self._running), name=f"{process.name} log")
        await self._wait_until_ready(self._running)

    async def _wait_until_ready(self, running: asyncio.subprocess.Process) -> None:
        ready = asyncio.ensure_future(self._process.ready())
        died = asyncio.create_task(running.wait())
        try:
            await asyncio.wait(
                {ready, died}, timeout=self._process.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if ready.done() and not died.done():
                return await ready
            what = "stopped at its start" if died.done() else "was not ready in time"
            await self.stop()
            raise Unavailable(f"{self._process.name} {what}: {self._last_line or 'it said nothing'}")
        finally:
            ready.cancel()
            died.cancel()
            await asyncio.gather(ready, died, return_exceptions=True)

    async def watch(self) -> None:
        """Start it anew whenever it ends, after a pause that grows while it keeps ending."""
        clock = asyncio.get_running_loop().time
        delay_s = RESTART_DELAY_S
        while True:
            since = clock()
            assert self._running is not None
            status = await self._running.wait()
            delay_s = RESTART_DELAY_S if clock() - since > STABLE_AFTER_S else min(2 * delay_s, RESTART_DELAY_LIMIT_S)
            log.warning("%s ended with status %d; starting it anew in %.1f s", self._process.name, status, delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self.start()
            except Unavailable as error:
                log.error("%s", error.internal)

    async def stop(self) -> None:
        """Ask it to end, and make it."""
        if self._running is None:
            return
        if self._running.returncode is None:
            self._running.send_signal(self._process.stop_signal)
            try:
                async with asyncio.timeout(self._process.stop_timeout_s):
                    await self._running.wait()
            except TimeoutError:
                log.warning("%s did not end in time and was killed", self._process.name)
                self._running.kill()
                await self._running.wait()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _keep_log(self, running: asyncio.subprocess.Process) -> None:
        """Copy what it says to its log, which is bounded."""
        assert running.stdout is not None
        handler = RotatingFileHandler(self._logs / f"{self._process.name}.log", maxBytes=LOG_LIMIT_BYTES, backupCount=1)
        begun = b""
        try:
            while piece := await running.stdout.read(PIECE_BYTES):
                lines, _, begun = (begun + piece).rpartition(b"\n")
                if len(begun) > LINE_LIMIT_BYTES:
                    lines, begun = b"\n".join(filter(None, [lines, begun])), b""
                self._keep_lines(handler, lines)
            self._keep_lines(handler, begun)
        finally:
            handler.close()

    def _keep_lines(self, handler: logging.Handler, lines: bytes) -> None:
        if text := lines.decode("utf-8", "replace").rstrip():
            self._last_line = text.rpartition("\n")[2]
            handler.emit(logging.makeLogRecord({"msg": text.replace("%", "%%")}))


def give_way(process_id: int, niceness: int) -> None:
    """Have a process, and those that it starts, step back for the others (or before them, below 0).

    Linux may weigh whole sessions against each other, and what is nice within one then is nothing to the others: each
    of our processes has a session of its own. Where neither is allowed it stays as it is. Source: sched(7), autogroups.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process_id, niceness)
        Path(f"/proc/{process_id}/autogroup").write_text(str(niceness))


async def socket_ready(path: Path) -> None:
    """Return once a unix socket accepts connections."""
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(str(path))
        except OSError:
            await asyncio.sleep(0.03)
        else:
            writer.close()
            return


async def ready_at_once() -> None:
    """For a process that nobody connects to."""
