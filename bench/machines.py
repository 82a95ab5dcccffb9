"""Machines: how long it takes until a tenant's machine has run a command, and what one costs while it is idle.

The host is a process of its own as in production, called through its API, with a PostgreSQL that waits for the disk.
Waking is measured one machine at a time, with no other awake. A table is printed, and last one JSON object.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.real.machines import MEMORY_MB, Host, eventually, golden_image, running_host

from subclaw.core.machine import Command
from subclaw.core.tenant import TenantId
from subclaw.machines.cgroups.groups import open_groups
from subclaw.machines.disks.disk import DISK_BYTES, folder_of, formatted_disk, used_bytes
from subclaw.machines.host_client import HostClient
from subclaw.machines.images.pins import forget_missing_homes
from subclaw.machines.network.door import opened_door
from subclaw.machines.qemu.accelerator import probe_accelerator
from subclaw.machines.qemu.command_line import Launch, Memory
from subclaw.machines.qemu.jail import open_jail
from subclaw.machines.qemu.memory import blank_memory, use_small_pages
from subclaw.machines.qemu.restore import make_tenants
from subclaw.machines.qemu.running import running
from subclaw.machines.qemu.seats import Seats, Share
from subclaw.machines.qemu.snapshot import read_snapshot
from subclaw.machines.qemu.template import Hardware
from subclaw.machines.starts import prepare_disk
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import running_cluster

BOOTS = 3
BOOT_LIMIT_S = 90.0
AWAKE = 20
WAKES = 40
EXECS = 100
WAKES_WITH_MEMORY = 20
CHECKPOINTS = 10
CHECKPOINT_FILE_BYTES = 10_000_000
CLAIMS = 20
SETTLE_S = 10.0
STILL_S = 0.5
NOTHING = Command(text="true", timeout_s=60.0)
COUNTING = Command(
    text="(n=0; while :; do n=$((n+1)); echo $n > /tmp/count; sleep 1; done) >/dev/null 2>&1 &", timeout_s=60.0
)

Samples = dict[str, list[float]]
"""What was measured, in milliseconds, by what it is."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a machine costs while nobody uses it: its share of the host's memory, and its new disk."""

    pss_mb: float
    disk_mb: float


def main() -> None:
    """Measure, print, and leave nothing behind."""
    cache, _ = golden_image()
    with (
        tempfile.TemporaryDirectory(prefix="subclaw-bench-", dir="/var/tmp") as name,
        running_cluster(durable=True) as address,
    ):
        folder = Path(name)
        accelerator, boots = asyncio.run(cold_boots(folder))
        samples: Samples = {"cold boot to first command": boots}
        cost = measure_host(folder / "host", address, samples)
        measure_pool(folder / "pool", address, samples)
    forget_missing_homes(cache)
    print_table(samples)
    print(json.dumps({"accelerator": accelerator, **figures(samples, cost)}))


async def cold_boots(home: Path) -> tuple[str, list[float]]:
    """Boot tenants' machines without a template; return the accelerator and each one's time."""
    use_small_pages()
    async with AsyncExitStack() as stack:
        cache, image = golden_image()
        groups = open_groups(home)
        stack.callback(groups.close)
        jail = open_jail(cache, home)
        seats = Seats(home, jail, groups, MEMORY_MB, Share())
        accelerator = await probe_accelerator(image, cache, jail, seats, memory_mb=MEMORY_MB)
        hardware = Hardware(accelerator=accelerator, memory_mb=MEMORY_MB, jail=jail)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        disks = [
            prepare_disk(folder_of(home, TenantId(number)), formatted_disk(cache), None) for number in range(BOOTS)
        ]
        return accelerator.kind.value, [await cold_boot(hardware, seats, group, disk) for disk in disks]


async def cold_boot(hardware: Hardware, seats: Seats, group: asyncio.TaskGroup, disk: Path) -> float:
    """Boot a machine until it is a tenant's and has run a command; return how long that took."""
    _, image = golden_image()
    began_s = time.perf_counter()
    memory = blank_memory(hardware.memory_mb)
    try:
        async with opened_door() as door:
            with seats.taken() as seat:
                launch = Launch(
                    name=seat.name,
                    kernel=image.kernel,
                    initramfs=image.initramfs,
                    golden=image.golden,
                    disk=disk,
                    accelerator=hardware.accelerator,
                    memory=Memory(descriptor=memory, size_mb=hardware.memory_mb, shared=True),
                    jail=hardware.jail,
                    user=seat.user,
                    tap=door.tap,
                )
                async with running(launch, group, on_spawned=seat.take) as machine:
                    await machine.guest.ping(timeout_s=BOOT_LIMIT_S)
                    await make_tenants(machine, "bench", DISK_BYTES)
                    await machine.guest.run(NOTHING)
                    return (time.perf_counter() - began_s) * 1000
    finally:
        os.close(memory)


def measure_host(folder: Path, address: DatabaseAddress, samples: Samples) -> Cost:
    """Measure everything that needs no pool."""
    with running_host(folder, address, python=(), awake_limit=AWAKE + 2) as host:

        async def scenario(client: HostClient) -> Cost:
            await client.run(TenantId(AWAKE + 1), NOTHING)  # the first of all reads from the host's disk
            await client.sleep(TenantId(AWAKE + 1))
            tenants = [TenantId(number) for number in range(1, AWAKE + 1)]
            samples["wake, new tenant"] = [await took_ms(client.run(tenant, NOTHING)) for tenant in tenants]
            await asyncio.sleep(SETTLE_S)
            pss_mb = sum(process.memory_full_info().pss for process in host.processes()) / AWAKE / 2**20
            samples["sleep"] = [await took_ms(client.sleep(tenant)) for tenant in tenants]
            disk_mb = max(used_bytes(folder_of(host.home, tenant)) for tenant in tenants) / 1e6
            await measure_wakes(client, tenants, samples)
            await measure_memory(client, host, tenants[0], samples)
            await measure_checkpoints(client, tenants[1], samples)
            return Cost(pss_mb=pss_mb, disk_mb=disk_mb)

        return host.use(scenario)


async def took_ms(call: Awaitable[object]) -> float:
    """Return how long a call took."""
    began_s = time.perf_counter()
    await call
    return (time.perf_counter() - began_s) * 1000


async def measure_wakes(client: HostClient, tenants: Sequence[TenantId], samples: Samples) -> None:
    """Wake machines that sleep with their disk alone, and measure what the commands after the first take."""
    samples["wake to first command"] = []
    for number in range(WAKES):
        tenant = tenants[number % len(tenants)]
        samples["wake to first command"].append(await took_ms(client.run(tenant, NOTHING)))
        await client.sleep(tenant)
    await client.run(tenants[0], NOTHING)
    samples["command"] = [await took_ms(client.run(tenants[0], NOTHING)) for _ in range(EXECS)]
    await client.sleep(tenants[0])


async def measure_memory(client: HostClient, host: Host, tenant: TenantId, samples: Samples) -> None:
    """Let a machine in which a program runs sleep and go on, again and again."""
    samples["sleep with memory"], samples["wake with memory"] = [], []
    await client.run(tenant, COUNTING)
    for _ in range(WAKES_WITH_MEMORY):
        samples["sleep with memory"].append(await took_ms(client.sleep(tenant)))
        if read_snapshot(folder_of(host.home, tenant)) is None:
            sys.exit("the machine did not sleep with its memory")
        samples["wake with memory"].append(await took_ms(client.run(tenant, NOTHING)))
    await client.destroy(tenant)


async def measure_checkpoints(client: HostClient, tenant: TenantId, samples: Samples) -> None:
    """Take checkpoints of an awake machine's disk, each after a change, and roll back to each."""
    samples["checkpoint"], samples["roll back"] = [], []
    change = Command(text=f"head -c {CHECKPOINT_FILE_BYTES} /dev/urandom > file", timeout_s=60.0)
    for number in range(CHECKPOINTS):
        await client.run(tenant, change)
        samples["checkpoint"].append(await took_ms(client.checkpoint(tenant, f"turn-{number}")))
        await client.run(tenant, change)
        samples["roll back"].append(await took_ms(client.roll_back(tenant, f"turn-{number}")))
    await client.destroy(tenant)


def measure_pool(folder: Path, address: DatabaseAddress, samples: Samples) -> None:
    """Claim machines that wait, one at a time."""
    with running_host(folder, address, python=(), pool_size=1) as host:

        async def scenario(client: HostClient) -> list[float]:
            await client.run(TenantId(CLAIMS + 1), NOTHING)
            await client.sleep(TenantId(CLAIMS + 1))
            return [await claim(client, host, TenantId(number)) for number in range(1, CLAIMS + 1)]

        samples["claim from the pool"] = host.use(scenario)


async def claim(client: HostClient, host: Host, tenant: TenantId) -> float:
    """Run a command in a machine that waited until then; return how long that took."""
    waiting = await asyncio.to_thread(still_machines, host)
    took = await took_ms(client.run(tenant, NOTHING))
    claimed = {status.process_id for status in await client.statuses() if status.tenant_id == tenant}
    if not claimed <= waiting:
        sys.exit("the machine did not come from the pool")
    await client.sleep(tenant)
    return took


def still_machines(host: Host) -> set[int]:
    """Wait until a machine waits in the pool, its processor stopped, and return the QEMU processes that do so."""
    still: set[int] = set()

    def found() -> bool:
        before = processor_times(host)
        time.sleep(STILL_S)
        still.update(
            process_id for process_id, used_s in processor_times(host).items() if used_s == before.get(process_id)
        )
        return bool(still)

    eventually(found, "no machine waits", timeout_s=60.0)
    return still


def processor_times(host: Host) -> dict[int, float]:
    """Return what processor time each machine has used."""
    return {process.pid: sum(process.cpu_times()[:2]) for process in host.machines()}


def figures(samples: Samples, cost: Cost) -> dict[str, float]:
    """Return the figures that are compared from one version to the next."""
    return {
        "cold_boot_ms": median_ms(samples["cold boot to first command"]),
        "wake_to_exec_p50_ms": median_ms(samples["wake to first command"]),
        "wake_to_exec_p99_ms": late_ms(samples["wake to first command"]),
        "pool_claim_p50_ms": median_ms(samples["claim from the pool"]),
        "exec_p50_ms": median_ms(samples["command"]),
        "sleep_ms": median_ms(samples["sleep"]),
        "resume_with_memory_p50_ms": median_ms(samples["wake with memory"]),
        "pss_mb_idle": round(cost.pss_mb, 1),
        "disk_mb_fresh": round(cost.disk_mb, 2),
        "checkpoint_ms": median_ms(samples["checkpoint"]),
        "rollback_ms": median_ms(samples["roll back"]),
    }


def median_ms(took: Sequence[float]) -> float:
    """Return the median."""
    return round(statistics.median(took), 1)


def late_ms(took: Sequence[float]) -> float:
    """Return the 99th percentile, between the slowest two if there are fewer than a hundred."""
    return round(statistics.quantiles(took, n=100, method="inclusive")[98], 1)


def print_table(samples: Samples) -> None:
    """Print what was measured."""
    print(f"{'milliseconds':28}{'samples':>8}{'least':>9}{'p50':>9}{'p99':>9}{'most':>9}")
    for name, took in samples.items():
        row = (min(took), median_ms(took), late_ms(took), max(took))
        print(f"{name:28}{len(took):8}" + "".join(f"{figure:9.1f}" for figure in row))


if __name__ == "__main__":
    main()
