"""The tenant's services: started when the machine boots and when they are declared, started again when they end.

What a service puts out is in a log that the tenant can read. Of one that keeps ending, a file in the house tells.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TypeVar

from subclaw_guest.declared import BROKEN, FILE, LOGS, Service, parse_services
from subclaw_guest.files import read
from subclaw_guest.house import HOUSE, put_file
from subclaw_guest.lane import Lane
from subclaw_guest.processes import Child, Processes, read_some
from subclaw_guest.refusals import Reason, Refused
from subclaw_guest.service_log import add_to_log

LOOK_S = 2.0
FILE_LIMIT_BYTES = 65_536
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
STEADY_S = 60.0
"""A service that has run for so long is well."""

BROKEN_AFTER = 3
"""How often in a row a service ends before it is steady, and is told of."""

END_S = 5.0
OUTPUT_S = 2.0
T = TypeVar("T")


class Services:
    """All services of the machine. `sessions` are those of the ones that run, by the numbers of their processes."""

    def __init__(self, processes: Processes, house: str = HOUSE, logs: str = LOGS) -> None:
        self.sessions: set[int] = set()
        self._processes = processes
        self._house = house
        self._logs = logs
        self._lane, self._turn = Lane(), asyncio.Lock()
        self._kept: dict[Service, asyncio.Task[None]] = {}
        self._broken: dict[str, str] = {}
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep from now on what the tenant declares, for as long as the machine runs."""
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        declared: tuple[Service, ...] = ()
        known: bytes | None = None
        while True:
            # A file that cannot be read or used leaves everything as it is.
            with contextlib.suppress(Refused, OSError):
                content = await self._on_disk(declaration, os.path.join(self._house, FILE))
                if content != known:
                    known = content
                    found = parse_services(content).services if content else ()
                    declared = declared if found is None else found
                    await self._run_these(declared)
            await asyncio.sleep(LOOK_S)

    async def _run_these(self, declared: tuple[Service, ...]) -> None:
        ended = [self._kept.pop(service) for service in tuple(self._kept) if service not in declared]
        for keeping in ended:
            keeping.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        names = {service.name for service in declared}
        for name in self._broken.keys() - names:
            await self._tell(name, "")
        for service in declared:
            if service not in self._kept:
                self._kept[service] = asyncio.create_task(self._keep_one(service))

    async def _keep_one(self, service: Service) -> None:
        """Run a service again and again, after ever longer pauses while it does not keep running."""
        pause_s, failures = FIRST_PAUSE_S, 0
        while True:
            began_s = time.monotonic()
            how = await self._run(service)
            if time.monotonic() - began_s >= STEADY_S:
                pause_s, failures = FIRST_PAUSE_S, 0
            failures += 1
            await self._log(service, f"[it {how}; it is started again in {pause_s:g} s]\n".encode())
            if failures >= BROKEN_AFTER:
                words = f"ended {failures} times in a row; at last it {how}"
                await self._tell(service.name, f"{words}. Its log is {self._log_of(service)}.")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run(self, service: Service) -> str:
        """Run a service until it ends; say how it did. One that is steady is told of as broken no more."""
        environment = {"PORT": str(service.port)} if service.port else {}
        try:
            child = self._processes.start(
                ["/bin/sh", "-c", service.command], folder=service.folder, environment=environment
            )
        except OSError as error:
            return f"could not be started: {error.strerror}"
        self.sessions.add(child.process_id)
        reading = asyncio.create_task(self._read(service, child))
        try:
            await asyncio.wait([child.exited], timeout=STEADY_S)
            if not child.exited.done():
                await self._tell(service.name, "")
            return f"ended with exit status {await asyncio.shield(child.exited)}"
        finally:
            await self._end(child, reading)

    async def _end(self, child: Child, reading: asyncio.Task[None]) -> None:
        """End what is left of a service, gently at first."""
        if not child.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process_id, signal.SIGTERM)
            await asyncio.wait([child.exited], timeout=END_S)
        child.kill()
        await asyncio.wait([reading], timeout=OUTPUT_S)
        reading.cancel()
        self.sessions.discard(child.process_id)

    async def _read(self, service: Service, child: Child) -> None:
        try:
            while output := await read_some(child.output):
                await self._log(service, output)
        finally:
            os.close(child.output)

    async def _log(self, service: Service, output: bytes) -> None:
        with contextlib.suppress(Refused, OSError):
            await self._on_disk(add_to_log, self._log_of(service), output)

    def _log_of(self, service: Service) -> str:
        return os.path.join(self._logs, f"{service.name}.log")

    async def _on_disk(self, function: Callable[..., T], *arguments: object) -> T:
        """Call what the tenant could make hang, one after the other. Raises what it raises, and `Refused`."""
        async with self._turn:
            return await self._lane.run(function, *arguments)

    async def _tell(self, name: str, words: str) -> None:
        """Say in the house that a service is broken, or not any more."""
        if words == self._broken.get(name, ""):
            return
        self._broken[name] = words
        if not words:
            del self._broken[name]
        text = "".join(f"{name}: {words}\n" for name, words in sorted(self._broken.items()))
        with contextlib.suppress(Refused, OSError):
            await self._on_disk(put_file, os.path.join(self._house, BROKEN), text.encode() or None)


def declaration(path: str) -> bytes:
    """Return what the tenant declares, nothing if there is no file. Raises `Refused`, `OSError`."""
    try:
        content, size_bytes = read(path, 0, FILE_LIMIT_BYTES)
    except FileNotFoundError:
        return b""
    if size_bytes > FILE_LIMIT_BYTES:
        raise Refused(Reason.TOO_LARGE)
    return content
