"""A soak of the machine host: many tenants, few machines awake, random commands, QEMU and the host killed in between.

What a finished command has synced must be there ever after, at any time and in the end, when the disks are read
without a machine. Nothing may be left behind, the host's memory must stay flat, and in the end the database, the host
and the files must say the same. A call that fails because its machine or the host was killed is expected; anything else
is a finding. `--minutes`, `--tenants` and `--seed` can be given. Last line: JSON with what was done and found; the
status is 1 if there is a finding.
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import psycopg
from tests.real.machines import Host, control_groups, golden_image, qemu_processes, running_host

from subclaw.core.errors import NotFound, SubclawError, Unavailable
from subclaw.core.machine import Command, MachineState
from subclaw.core.tenant import TenantId
from subclaw.machines.disks.checkpoints import mend
from subclaw.machines.disks.disk import DISK, folder_of
from subclaw.machines.disks.record import read_record
from subclaw.machines.host_client import HostClient
from subclaw.machines.images.pins import forget_missing_homes
from subclaw.machines.qemu.processes import PROCESS
from subclaw.machines.qemu.seats import SEATS
from subclaw.machines.qemu.snapshot import read_snapshot
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import running_cluster

AWAKE = 20
WORKERS = 6
IDLE_TIMEOUT_S = 20
COMMAND_S = 120.0
REPORT_S = 10.0
SAMPLE_S = 1.0
WARM_UP_S = 20.0
AFTERMATH_S = 3.0
"""For how long after a kill a call may still fail by it."""

QUIET_SHARE = 0.4
"""The share of the time, at its end, in which the host is not killed, so that its memory can be watched."""

FILES = 4
SIZES_BYTES = (100, 5_000, 300_000)
ABSENT = ""
COUNT = "/dev/shm/count"
START_COUNTING = (
    f"(n=0; while :; do n=$((n+1)); echo $n > {COUNT}.new; mv {COUNT}.new {COUNT}; sleep 1; done) >/dev/null 2>&1 &"
    f" while ! [ -s {COUNT} ]; do sleep 0.1; done; cat {COUNT}"
)
LOOK = f"cat {COUNT} 2>/dev/null || echo 0; sha256sum f? 2>/dev/null; true"

Contents = dict[str, frozenset[str]]
"""By a file's name the digests that its content may have: more than one if a call's outcome is unknown."""


@dataclass(kw_only=True)
class Tenant:
    """What must be true of a tenant's machine. `count` is None unless a program counts in it."""

    id: TenantId
    contents: Contents = field(default_factory=dict)
    checkpoints: dict[str, Contents] = field(default_factory=dict)
    count: int | None = None
    killed_s: float = 0.0
    in_use: bool = False

    def may_be(self, name: str) -> frozenset[str]:
        """Return what a file's content may be."""
        return self.contents.get(name, frozenset({ABSENT}))

    def may_become(self, others: Contents) -> None:
        """Allow other contents as well: those of a call that is under way."""
        for name in {*self.contents, *others}:
            self.contents[name] = self.may_be(name) | others.get(name, frozenset({ABSENT}))


@dataclass(kw_only=True)
class Soak:
    """A soak that runs: its tenants, its host, and what was done and found so far."""

    address: DatabaseAddress
    folder: Path
    log: IO[str]
    tenants: Sequence[Tenant]
    chance: random.Random
    host: Host | None = None
    host_stack: ExitStack = field(default_factory=ExitStack)
    host_killed_s: float = 0.0
    host_up_s: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    rss_bytes: list[tuple[float, int]] = field(default_factory=list)
    destroyed_generations: int = 0

    @property
    def home(self) -> Path:
        """The host's home folder."""
        return self.folder / "home"

    def find(self, kind: str, detail: str) -> None:
        """Count a finding, and say it at once."""
        self.findings[kind] += 1
        print(f"FINDING {kind}: {detail}", flush=True)
        print(f"FINDING {kind}: {detail}", file=self.log, flush=True)

    def is_disturbed(self, tenant: Tenant, began_s: float) -> bool:
        """Say whether a call that began then may have failed because something was killed."""
        return max(tenant.killed_s, self.host_killed_s, self.host_up_s) >= began_s - AFTERMATH_S


def main() -> None:
    """Soak, print, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    cache, _ = golden_image()
    with (
        tempfile.TemporaryDirectory(prefix="subclaw-soak-", dir="/var/tmp") as name,
        running_cluster(durable=True) as address,
        open(os.path.join(name, "host.log"), "w+", encoding="utf-8") as log,
    ):
        tenants = [Tenant(id=TenantId(number)) for number in range(1, given.tenants + 1)]
        chance = random.Random(given.seed)
        soak = Soak(address=address, folder=Path(name), log=log, tenants=tenants, chance=chance)
        result = asyncio.run(run(soak, given.minutes * 60))
        if soak.findings:
            kept = Path(tempfile.gettempdir()) / f"soak-{given.seed}.log"
            kept.write_text((Path(name) / "host.log").read_text("utf-8"), "utf-8")
            print(f"the host's log is kept in {kept}")
    forget_missing_homes(cache)
    print(json.dumps({"seed": given.seed, "minutes": given.minutes, **result}))
    sys.exit(bool(soak.findings))


async def run(soak: Soak, duration_s: float) -> dict[str, object]:
    """Run a soak and check what it left; return what was done and found."""
    until_s = time.monotonic() + duration_s
    await start_host(soak)
    try:
        async with HostClient(soak.folder / "host.sock") as client:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(work(soak, client, random.Random(soak.chance.random()), until_s))
                group.create_task(kill_machines(soak, client, random.Random(soak.chance.random()), until_s))
                quiet_s = until_s - duration_s * QUIET_SHARE
                group.create_task(kill_hosts(soak, random.Random(soak.chance.random()), quiet_s))
                group.create_task(watch(soak, client, until_s))
            growth_mb = growth_mb_of(soak)
            await check_statuses(soak, client)
        wakes = await asyncio.to_thread(count_wakes, soak)
    finally:
        await asyncio.to_thread(soak.host_stack.close)
    orphans = left_behind(soak)
    check_rows(soak)
    await asyncio.gather(*(asyncio.to_thread(check_disks, soak, soak.tenants[number::2]) for number in range(2)))
    return {
        "tenants": len(soak.tenants),
        "tenants_used": sum(folder_of(soak.home, tenant.id).exists() for tenant in soak.tenants),
        "wakes": wakes,
        "kills": soak.done["machine killed"] + soak.done["host killed"],
        "lost_files": soak.findings["file lost"],
        "orphans": orphans,
        "host_rss_growth_mb": growth_mb,
        "done": dict(sorted(soak.done.items())),
        "errors": dict(sorted(soak.findings.items())),
    }


async def start_host(soak: Soak) -> None:
    """Start the host, once it is shown that the one before left no machine."""
    await asyncio.to_thread(soak.host_stack.close)
    soak.host_stack = ExitStack()
    starting = running_host(
        soak.folder,
        soak.address,
        plan={"idle_timeout_s": IDLE_TIMEOUT_S},
        tenants=len(soak.tenants),
        python=(),
        log=soak.log,
        awake_limit=AWAKE,
    )
    soak.host = await asyncio.to_thread(soak.host_stack.enter_context, starting)
    soak.host_up_s = time.monotonic()
    soak.rss_bytes.clear()


async def work(soak: Soak, client: HostClient, chance: random.Random, until_s: float) -> None:
    """Use machines at random until the time is over: some tenants much more often than others."""
    actions = {
        write: 30,
        look: 25,
        sleep: 10,
        checkpoint: 8,
        count: 10,
        roll_back: 5,
        use: 3,
        forward: 2,
        destroy: 1,
    }
    while time.monotonic() < until_s:
        tenant = soak.tenants[int(len(soak.tenants) * chance.random() ** 4)]
        (action,) = chance.choices(list(actions), list(actions.values()))
        if tenant.in_use:
            await asyncio.sleep(0)
            continue
        tenant.in_use = True
        began_s = time.monotonic()
        try:
            await action(soak, client, tenant, chance)
            soak.done[action.__name__] += 1
        except SubclawError as error:
            if isinstance(error, Unavailable) and soak.is_disturbed(tenant, began_s):
                soak.done["failed by a kill"] += 1
            else:
                took_s = time.monotonic() - began_s
                what = f"{action.__name__} of {tenant.id} after {took_s:.1f} s: {error.public} ({error.internal})"
                soak.find(type(error).__name__, what)
        finally:
            tenant.in_use = False


async def write(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Write a file and sync, in one command: of two, the second might run in another start of the machine."""
    name, word, size = f"f{chance.randrange(FILES)}", f"{chance.getrandbits(64):x}", chance.choice(SIZES_BYTES)
    content = (word.encode() + b"\n") * (size // (len(word) + 1) + 1)
    digest = hashlib.sha256(content[:size]).hexdigest()
    tenant.contents[name] = tenant.may_be(name) | {digest}
    text = f"yes {word} | head -c {size} > .new && mv .new {name} && sync"
    await run_well(soak, client, tenant, text)
    tenant.contents[name] = frozenset({digest})


async def look(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Compare the files with what they must be, and see that what counts has gone on."""
    began_s = time.monotonic()
    counted, *lines = (await run_well(soak, client, tenant, LOOK)).splitlines()
    found = {name: digest for digest, name in (line.split() for line in lines)}
    compare(soak, tenant, found, "in its machine")
    if tenant.count is not None:
        if tenant.count <= int(counted):
            tenant.count = int(counted)
            soak.done["found counting"] += 1
            return
        tenant.count = None
        if not soak.is_disturbed(tenant, began_s):
            soak.find("memory lost", f"tenant {tenant.id} does not count any more")


async def sleep(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Put a machine to sleep."""
    await client.sleep(tenant.id)


async def count(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Start a program that goes on, so that the machine sleeps with its memory."""
    began_s = time.monotonic()
    if tenant.count is None:
        counted = int(await run_well(soak, client, tenant, START_COUNTING))
        if max(tenant.killed_s, soak.host_killed_s) < began_s:
            tenant.count = counted


async def checkpoint(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Take a checkpoint of a disk."""
    label = f"turn-{chance.getrandbits(32)}"
    with contextlib.suppress(NotFound):  # there is no disk yet
        await client.checkpoint(tenant.id, label)
        tenant.checkpoints[label] = dict(tenant.contents)


async def roll_back(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Roll a disk back to one of its checkpoints."""
    labels = [kept.label for kept in await client.checkpoints(tenant.id) if kept.label in tenant.checkpoints]
    if not labels:
        return
    contents = tenant.checkpoints[chance.choice(labels)]
    label = next(label for label in labels if tenant.checkpoints[label] is contents)
    tenant.count = None
    tenant.may_become(contents)
    await client.roll_back(tenant.id, label)
    tenant.contents = dict(contents)


async def use(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Ask what a machine uses."""
    with contextlib.suppress(NotFound):
        await client.stats(tenant.id)


async def forward(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Have a socket made that leads to a machine."""
    await client.forward(tenant.id, 8000)


async def destroy(soak: Soak, client: HostClient, tenant: Tenant, chance: random.Random) -> None:
    """Erase a machine."""
    rows = await asyncio.to_thread(rows_of, soak)
    tenant.count = None
    tenant.may_become({})
    tenant.checkpoints.clear()
    await client.destroy(tenant.id)
    tenant.contents.clear()
    if tenant.id in rows:
        soak.destroyed_generations += rows[tenant.id][1]


async def run_well(soak: Soak, client: HostClient, tenant: Tenant, text: str) -> str:
    """Run a command that must succeed, and return its output."""
    result = await client.run(tenant.id, Command(text=text, timeout_s=COMMAND_S))
    if result.exit_status:
        soak.find("command failed", f"tenant {tenant.id}, {text!r}: {result}")
    return result.output.decode()


def compare(soak: Soak, tenant: Tenant, found: Mapping[str, str], where: str) -> None:
    """Compare files with what they must be."""
    for name, digests in tenant.contents.items():
        soak.done["file compared"] += 1
        if found.get(name, ABSENT) not in digests:
            soak.find("file lost", f"{name} of {tenant.id}, {where}: {found.get(name)}, not {sorted(digests)}")


async def kill_machines(soak: Soak, client: HostClient, chance: random.Random, until_s: float) -> None:
    """Kill QEMU processes at random."""
    while time.monotonic() < until_s:
        await asyncio.sleep(chance.uniform(1.5, 5.0))
        with contextlib.suppress(Unavailable):
            statuses = await client.statuses()
            if len(statuses) > AWAKE:
                soak.find("too many awake", str(len(statuses)))
            if not statuses:
                continue
            status = chance.choice(statuses)
            tenant = soak.tenants[status.tenant_id - 1]
            tenant.killed_s, tenant.count = time.monotonic(), None
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.process_id, signal.SIGKILL)
                soak.done["machine killed"] += 1


async def kill_hosts(soak: Soak, chance: random.Random, until_s: float) -> None:
    """Kill the host at random and start it again, until the time comes when its memory is watched."""
    while (pause_s := chance.uniform(10.0, 40.0)) < until_s - time.monotonic():
        await asyncio.sleep(pause_s)
        assert soak.host is not None
        soak.host_killed_s = time.monotonic()
        soak.host.process.kill()
        await asyncio.to_thread(soak.host.process.wait)
        soak.done["host killed"] += 1
        asleep = {
            tenant for tenant, (state, _) in (await asyncio.to_thread(rows_of, soak)).items() if "memory" in state
        }
        for tenant in soak.tenants:
            if tenant.id not in asleep:
                tenant.count = None
        await start_host(soak)


async def watch(soak: Soak, client: HostClient, until_s: float) -> None:
    """Sample the host's memory, and say now and then how it goes."""
    began_s = time.monotonic()
    for number in itertools.count(1):
        await asyncio.sleep(SAMPLE_S)
        with contextlib.suppress(psutil.Error):
            if soak.host is not None:
                rss = psutil.Process(soak.host.process.pid).memory_info().rss
                soak.rss_bytes.append((time.monotonic(), rss))
        if number % (REPORT_S / SAMPLE_S) == 0:
            rss_mb = soak.rss_bytes[-1][1] / 2**20 if soak.rss_bytes else 0.0
            states = Counter(state for state, _ in (await asyncio.to_thread(rows_of, soak)).values())
            said = ", ".join(f"{what} {times}" for what, times in sorted(soak.done.items()))
            print(f"{time.monotonic() - began_s:4.0f} s, {rss_mb:.0f} MB, {dict(states)}: {said}", flush=True)
        if time.monotonic() > until_s:
            return


def growth_mb_of(soak: Soak) -> float:
    """Return how much the last host's memory grew, from when it was warm: the median then and in the end."""
    began_s = soak.rss_bytes[0][0]
    warm = [rss for at_s, rss in soak.rss_bytes if at_s - began_s > WARM_UP_S] or [rss for _, rss in soak.rss_bytes]
    part = max(1, len(warm) // 5)
    return round((statistics.median(warm[-part:]) - statistics.median(warm[:part])) / 2**20, 1)


def rows_of(soak: Soak) -> dict[TenantId, tuple[str, int]]:
    """Return what is on record: states and generations."""
    with psycopg.connect(soak.address.url) as connection:
        rows = connection.execute("SELECT tenant_id, state, generation FROM machine").fetchall()
        return {TenantId(tenant): (state, generation) for tenant, state, generation in rows}


def count_wakes(soak: Soak) -> int:
    """Return how many starts were counted."""
    return soak.destroyed_generations + sum(generation for _, generation in rows_of(soak).values())


async def check_statuses(soak: Soak, client: HostClient) -> None:
    """See that the rows that say awake become those of the machines that are, while nobody uses any."""
    deadline_s = time.monotonic() + 2 * IDLE_TIMEOUT_S
    while True:
        statuses = {(status.tenant_id, status.generation) for status in await client.statuses()}
        rows = await asyncio.to_thread(rows_of, soak)
        awake = {(tenant, generation) for tenant, (state, generation) in rows.items() if state == MachineState.AWAKE}
        if statuses == awake:
            return
        if time.monotonic() > deadline_s:
            soak.find("rows disagree", f"awake by the host {statuses - awake}, by the rows {awake - statuses}")
            return
        await asyncio.sleep(0.2)


def left_behind(soak: Soak) -> int:
    """Count the processes, control groups, seats and sockets that there are after the host has stopped."""
    left = [
        *(str(process) for process in qemu_processes(soak.home)),
        *(str(path) for path in control_groups(soak.home)),
        *(str(path) for path in (soak.home / SEATS).glob(f"*/{PROCESS}")),
        *(str(path) for path in soak.folder.rglob("*.sock")),
    ]
    for orphan in left:
        soak.find("orphan", orphan)
    return len(left)


def check_rows(soak: Soak) -> None:
    """Compare the rows with the files, once the host has stopped."""
    rows = rows_of(soak)
    for tenant in soak.tenants:
        state, generation = rows.get(tenant.id, ("", 0))
        folder = folder_of(soak.home, tenant.id)
        record, snapshot = read_record(folder), read_snapshot(folder)
        soak.done["asleep with memory at the end"] += snapshot is not None
        if state == MachineState.AWAKE:
            soak.find("rows disagree", f"{tenant.id} is awake by its row, after the host has stopped")
        if record is not None and record.generation > generation:
            soak.find("rows disagree", f"{tenant.id}: generation {generation}, on disk {record.generation}")
        if (state == MachineState.ASLEEP_WITH_MEMORY) != (snapshot is not None):
            soak.find("rows disagree", f"{tenant.id} is {state!r} by its row, and its snapshot is {snapshot}")


def check_disks(soak: Soak, tenants: Sequence[Tenant]) -> None:
    """Compare the files on every disk with what they must be, without a machine."""
    for tenant in tenants:
        folder = folder_of(soak.home, tenant.id)
        if folder.exists():
            mend(folder)
        if not (folder / DISK).exists():
            compare(soak, tenant, {}, "without a disk")
            continue
        checked = subprocess.run(["/sbin/e2fsck", "-p", str(folder / DISK)], capture_output=True, text=True)
        if checked.returncode > 1:
            soak.find("disk damaged", f"{tenant.id}: {checked.stdout} {checked.stderr}")
        with files_on(folder / DISK) as files:
            found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.iterdir()}
        compare(soak, tenant, found, "on its disk")


@contextmanager
def files_on(disk: Path) -> Iterator[Path]:
    """Take the files out of a tenant's disk; gives the folder where they are."""
    with tempfile.TemporaryDirectory() as name:
        requests = "".join(f"dump /home/f{number} {name}/f{number}\n" for number in range(FILES))
        subprocess.run(["/sbin/debugfs", "-f", "-", str(disk)], input=requests, capture_output=True, text=True)
        yield Path(name)


if __name__ == "__main__":
    main()
