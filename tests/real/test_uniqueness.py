"""Machines that come from one memory: nothing is alike in them that must not be, and their clocks are right."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest
from tests.real.machines import Host, running_host, status_of

from subclaw.core.machine import Command
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

CLONES = (1, 2, 3)
CLOCK_S = 1.0

TELL = """
import json, os, random, secrets, socket, tempfile, time, uuid

def line(path):
    with open(path) as file:
        return file.readline().strip()

def address_of(name):
    return next(place.split("-")[0] for place in open("/proc/self/maps") if name in place)

with open("/dev/urandom", "rb") as file:
    urandom = file.read(16).hex()
with open("/dev/random", "rb") as file:
    blocking = file.read(16).hex()
told = {
    "boot id": line("/proc/sys/kernel/random/boot_id"),
    "machine id": line("/etc/machine-id"),
    "hostname": socket.gethostname(),
    "hostname on disk": line("/etc/hostname"),
    "/dev/urandom": urandom,
    "/dev/random": blocking,
    "getrandom": os.getrandom(16).hex(),
    "kernel's uuid": line("/proc/sys/kernel/random/uuid"),
    "uuid4": str(uuid.uuid4()),
    "secrets": secrets.token_hex(),
    "random": random.random(),
    "hash seed": hash("subclaw"),
    "temporary name": tempfile.mktemp(),
    "auxiliary random": open("/proc/self/auxv", "rb").read().hex(),
    "address of the stack": address_of("[stack]"),
    "address of the heap": address_of("[heap]"),
    "address of a library": address_of("libc.so"),
}
print(json.dumps({"clock": time.time(), "told": told, "interfaces": os.listdir("/sys/class/net")}))
"""
"""What a program that has just begun finds in a machine."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with fresh_database(cluster) as address, running_host(folder, address, awake_limit=len(CLONES)) as host:
        yield host


async def told(client: HostClient, tenant_id: int) -> dict[str, object]:
    """Ask a program in a machine what it finds, and check the clock and that there is one cable."""
    before_s = time.time()
    command = Command(text=f"python3 - <<'END'\n{TELL}\nEND", timeout_s=60)
    result = await client.run(TenantId(tenant_id), command)
    assert result.exit_status == 0, result.output
    answer = json.loads(result.output)
    assert before_s - CLOCK_S < answer["clock"] < time.time() + CLOCK_S
    assert sorted(answer["interfaces"]) == ["eth0", "lo"]
    found: dict[str, object] = answer["told"]
    return found


def check_all_differ(answers: list[dict[str, object]], *, but: frozenset[str] = frozenset()) -> None:
    """Show that no two answers have a value in common."""
    for name in answers[0].keys() - but:
        assert len({answer[name] for answer in answers}) == len(answers), name


def test_clones_have_nothing_alike(host: Host) -> None:
    async def scenario(client: HostClient) -> list[dict[str, object]]:
        return list(await asyncio.gather(*(told(client, tenant_id) for tenant_id in CLONES)))

    check_all_differ(host.use(scenario))


def test_next_start_of_a_machine_is_unlike_the_last(host: Host) -> None:
    async def scenario(client: HostClient) -> list[dict[str, object]]:
        answers = [await told(client, 1)]
        await client.sleep(TenantId(1))
        return [*answers, await told(client, 1)]

    of_its_disk = frozenset({"machine id", "hostname", "hostname on disk"})
    answers = host.use(scenario)
    check_all_differ(answers, but=of_its_disk)
    assert all(answers[0][name] == answers[1][name] for name in of_its_disk)


def test_machine_that_wakes_with_its_memory_has_the_time_and_new_randomness(host: Host) -> None:
    async def scenario(client: HostClient) -> list[dict[str, object]]:
        await client.run(TenantId(1), Command(text="sleep 600 & stay-awake off", timeout_s=60))
        answers = [await told(client, 1)]
        await client.sleep(TenantId(1))
        answers.append(await told(client, 1))
        assert (await client.run(TenantId(1), Command(text="pgrep -x sleep", timeout_s=60))).exit_status == 0
        return answers

    answers = host.use(scenario)
    still_the_same = frozenset({"boot id", "machine id", "hostname", "hostname on disk"})
    check_all_differ(answers, but=still_the_same)
    assert all(answers[0][name] == answers[1][name] for name in still_the_same)
    assert status_of(host, 1).generation == 3
