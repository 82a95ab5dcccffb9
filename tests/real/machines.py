"""Real machines for tests: a host process of its own, as in production, and calls to it through its API."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil
import psycopg
from psycopg import sql

from subclaw.core.machine import Command, CommandResult, MachineStatus
from subclaw.core.tenant import TenantId
from subclaw.machines.cgroups.groups import open_groups
from subclaw.machines.disks.disk import folder_of, formatted_disk
from subclaw.machines.guest.guest import Guest
from subclaw.machines.host_client import HostClient
from subclaw.machines.images.image import Image, build_image
from subclaw.machines.network.door import opened_door
from subclaw.machines.qemu.accelerator import probe_accelerator
from subclaw.machines.qemu.jail import open_jail
from subclaw.machines.qemu.processes import name_prefix
from subclaw.machines.qemu.restore import restored
from subclaw.machines.qemu.seats import Seats, Share
from subclaw.machines.qemu.template import Hardware
from subclaw.machines.qemu.templates import Templates
from subclaw.machines.starts import prepare_disk
from subclaw.store.database import DatabaseAddress

ROOT = Path(__file__).parents[2]
READY_S = 180.0
STOP_S = 60.0
TENANTS = 100
MEMORY_MB = 256
STRICT = ("-X", "dev", "-W", "error")
"""Options of Python that find mistakes, and take time."""

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
        """Return QEMU and what holds its jails, of this host's home folder, whoever started them."""
        return qemu_processes(self.home)

    def machines(self) -> list[psutil.Process]:
        """Return the QEMU processes alone."""
        return [process for process in self.processes() if process.name().startswith("qemu")]


@asynccontextmanager
async def waiting_machine(folder: Path) -> AsyncIterator[Guest]:
    """Restore a machine in this process, with a disk of its own, and give its agent before it is set up."""
    cache, image = golden_image()
    async with AsyncExitStack() as stack:
        groups = open_groups(folder)
        stack.callback(groups.close)
        jail = open_jail(cache, folder)
        seats = Seats(folder, jail, groups, MEMORY_MB, Share())
        accelerator = await probe_accelerator(image, cache, jail, seats, memory_mb=MEMORY_MB)
        hardware = Hardware(accelerator=accelerator, memory_mb=MEMORY_MB, jail=jail)
        templates = await stack.enter_async_context(Templates(cache, hardware, seats, READY_S))
        disk = prepare_disk(folder_of(folder, TenantId(1)), formatted_disk(cache), None)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        seat = stack.enter_context(seats.taken())
        template = await templates.of_image(image)
        door = await stack.enter_async_context(opened_door())
        machine = await stack.enter_async_context(restored(template, hardware, seat, group, door=door, disk=disk))
        await machine.monitor.go_on()
        yield machine.guest


@contextmanager
def running_host(
    folder: Path,
    address: DatabaseAddress,
    *,
    plan: Mapping[str, object] | None = None,
    tenants: int = TENANTS,
    python: Sequence[str] = STRICT,
    log: IO[str] | None = None,
    **settings: Any,
) -> Iterator[Host]:
    """Run a host process on a folder, and show at the end that it left nothing behind.

    Tenants are there from 1 to `tenants`; `plan` changes their plan, `settings` are of `FleetSettings`. The host runs
    with options of Python's and logs to a file, or else to this process's standard error.
    """
    cache, image = golden_image()
    home = folder / "home"
    settle_tenants(address, tenants, plan or {})
    given = {
        "address": address.url,
        "home": str(home),
        "cache": str(cache),
        "digest": image.digest,
        "socket": str(folder / "host.sock"),
        "forward_folder": str(folder / "forward"),
        **settings,
    }
    command = [sys.executable, *python, "-m", "tests.real.host_process", json.dumps(given)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=ROOT)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the host did not begin"
            yield Host(process=process, home=home, socket=folder / "host.sock")
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_S) == 0
                assert not control_groups(home), "control groups are left behind"
        finally:
            process.kill()
            eventually(lambda: not qemu_processes(home), "QEMU is left behind")


def settle_tenants(address: DatabaseAddress, tenants: int, plan: Mapping[str, object]) -> None:
    """Make tenants from 1 on, unless they are there, and change their plan."""
    with psycopg.connect(address.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tenant (id, name) SELECT id, 'tenant-' || id FROM generate_series(1, %s) AS id"
            " ON CONFLICT DO NOTHING",
            [tenants],
        )
        for name, value in plan.items():
            connection.execute(sql.SQL("UPDATE plan SET {} = %s").format(sql.Identifier(name)), [value])


def status_of(host: Host, tenant_id: int) -> MachineStatus:
    """Return the status of a tenant's machine, which must be awake."""
    (status,) = [status for status in host.use(lambda client: client.statuses()) if status.tenant_id == tenant_id]
    return status


def socket_at(address: str) -> str:
    """Return the path of a socket whose address is in Caddy's notation."""
    network, _, path = address.partition("/")
    assert network == "unix"
    return path


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


def control_groups(home: Path) -> list[Path]:
    """Return the control groups of a home folder, in all hierarchies."""
    parent = name_prefix(home).rstrip("-")
    return [path for path in Path("/sys/fs/cgroup").rglob(f"{parent}*") if path.is_dir()]


def eventually(condition: Callable[[], object], complaint: str, *, timeout_s: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)
