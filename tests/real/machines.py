"""Real machines for tests: a host process of its own, as in production, and calls to it through its API."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from subclaw.core.machine import Command, CommandResult
from subclaw.core.tenant import TenantId
from subclaw.machines.accelerator import probe_accelerator
from subclaw.machines.disk import formatted_disk, start_generation
from subclaw.machines.guest import Guest
from subclaw.machines.host_client import HostClient
from subclaw.machines.image import Image, build_image
from subclaw.machines.processes import name_prefix
from subclaw.machines.qemu import Launch, spawn
from subclaw.machines.running import Tail, agent_channel, end, pump
from subclaw_guest.link import Link

ROOT = Path(__file__).parents[2]
READY_S = 180.0
STOP_S = 60.0
NOBODY = 65_534
T = TypeVar("T")


def golden_image() -> tuple[Path, Image]:
    """Return the cache that set-up uses and the image of this checkout's recipe, built if need be."""
    cache = Path(os.environ.get("SUBCLAW_CACHE", "/var/cache/subclaw"))
    return cache, build_image(ROOT / "image", cache, lambda progress: None)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host process that runs."""

    process: subprocess.Popen[str]
    home: Path
    socket: Path

    def use(self, scenario: Callable[[HostClient], Awaitable[T]]) -> T:
        """Run a scenario with a client of this host."""

        async def with_client() -> T:
            async with HostClient(self.socket) as client:
                return await scenario(client)

        return asyncio.run(with_client())

    def run(self, tenant_id: int, text: str, *, timeout_s: float = 60.0) -> CommandResult:
        """Run one command."""
        return self.use(lambda client: client.run(TenantId(tenant_id), Command(text=text, timeout_s=timeout_s)))

    def processes(self) -> list[psutil.Process]:
        """Return the QEMU processes of this host's home folder, whoever started them."""
        return qemu_processes(self.home)


@asynccontextmanager
async def waiting_machine(folder: Path) -> AsyncIterator[Guest]:
    """Start a machine in this process, with a disk of its own, and give its agent before it is set up."""
    cache, image = golden_image()
    accelerator = await probe_accelerator(image, cache, None, memory_mb=256)
    disk, _ = start_generation(folder, TenantId(1), formatted_disk(cache), image.digest)
    launch = Launch(
        name=f"{name_prefix(folder)}test", image=image, disk=disk, accelerator=accelerator, memory_mb=256, owner=None
    )
    qemu = await spawn(launch)
    async with asyncio.TaskGroup() as group, agent_channel(qemu) as (reader, write):
        errors = group.create_task(Tail().keep(qemu.process.stderr))
        link = Link(write)
        pumping = group.create_task(pump(link, reader, asyncio.Event()))
        try:
            guest = Guest(link)
            await guest.ping(timeout_s=READY_S)
            yield guest
        finally:
            await end(qemu)
            qemu.monitor.close()
            pumping.cancel()
            errors.cancel()


@contextmanager
def running_host(folder: Path, **settings: Any) -> Iterator[Host]:
    """Run a host process on a folder, and show at the end that it left no QEMU behind."""
    cache, image = golden_image()
    home = folder / "home"
    given = {
        "home": str(home),
        "cache": str(cache),
        "digest": image.digest,
        "socket": str(folder / "host.sock"),
        "forward_folder": str(folder / "forward"),
        **settings,
    }
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.real.host_process", json.dumps(given)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the host did not begin"
            yield Host(process=process, home=home, socket=folder / "host.sock")
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_S) == 0
        finally:
            process.kill()
            eventually(lambda: not qemu_processes(home), "QEMU is left behind")


def qemu_processes(home: Path) -> list[psutil.Process]:
    """Return the QEMU processes of a home folder."""
    prefix = name_prefix(home)
    found = []
    for process in psutil.process_iter():
        try:
            if any(argument.startswith(prefix) for argument in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def eventually(condition: Callable[[], object], complaint: str, *, timeout_s: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)
