"""Sleep and waking: what goes on, what is kept, what keeps a machine awake, and what does not."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.real.machines import Host, eventually, running_host
from tests.real.test_budgets import limit

from subclaw.core.budget import Budget, Kind, Level, Period
from subclaw.core.errors import Exhausted
from subclaw.core.machine import Command
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

COUNT = (
    "(n=0; while :; do n=$((n+1)); echo $n > /tmp/count; sleep 0.1; done) >/dev/null 2>&1 &"
    " while ! [ -s /tmp/count ]; do sleep 0.1; done; cat /tmp/count"
)
STANDS_STILL = "a=$(cat /tmp/count); sleep 0.5; [ $a = $(cat /tmp/count) ] && cat file"


@pytest.fixture(scope="module")
def address(cluster: DatabaseAddress) -> Iterator[DatabaseAddress]:
    with fresh_database(cluster) as address:
        yield address


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, address: DatabaseAddress) -> Iterator[Host]:
    with running_host(tmp_path_factory.mktemp("host"), address) as host:
        yield host


def sleep(host: Host, tenant: int) -> None:
    """Put a machine to sleep."""
    host.use(lambda client: client.sleep(TenantId(tenant)))


def awake(host: Host) -> set[int]:
    """Return the tenants whose machines are awake."""
    return {int(status.tenant_id) for status in host.use(lambda client: client.statuses())}


def on_record(address: DatabaseAddress, tenant: int) -> tuple[str, int]:
    """Return what the database says of a machine: its state and its generation."""
    with psycopg.connect(address.url) as connection:
        row = connection.execute("SELECT state, generation FROM machine WHERE tenant_id = %s", [tenant]).fetchone()
        assert row is not None
        return row[0], row[1]


def test_programs_go_on_where_they_were(host: Host, address: DatabaseAddress) -> None:
    before = int(host.run(1, f"{COUNT}; cat /proc/sys/kernel/random/boot_id > boot").output)
    sleep(host, 1)
    assert on_record(address, 1) == ("asleep with memory", 1)
    assert (host.home / "machines" / "1" / "snapshot").is_dir()
    result = host.run(
        1, "cat /tmp/count; sleep 0.5; cat /tmp/count; cmp boot /proc/sys/kernel/random/boot_id && date +%s"
    )
    first, second, now = map(int, result.output.split())
    assert before <= first < before + 50
    assert second > first
    assert abs(now - time.time()) < 5
    assert on_record(address, 1) == ("awake", 2)
    assert not (host.home / "machines" / "1" / "snapshot").exists()


def test_it_goes_on_again_and_again(host: Host) -> None:
    host.run(2, COUNT)
    last = 0
    for _ in range(3):
        sleep(host, 2)
        count = int(host.run(2, "sleep 0.3; cat /tmp/count").output)
        assert count > last
        last = count


def test_without_programs_only_the_disk_is_kept(host: Host, address: DatabaseAddress) -> None:
    first = host.run(3, "echo mine > file; cat /proc/sys/kernel/random/boot_id").output
    sleep(host, 3)
    assert on_record(address, 3)[0] == "asleep"
    assert not (host.home / "machines" / "3" / "snapshot").exists()
    assert host.run(3, "cat file").output == b"mine\n"
    assert host.run(3, "cat /proc/sys/kernel/random/boot_id").output != first


def test_snapshot_that_is_broken_costs_the_programs_and_no_file(host: Host) -> None:
    host.run(4, f"echo kept > file; {COUNT}")
    sleep(host, 4)
    pages = host.home / "machines" / "4" / "snapshot" / "pages"
    pages.write_bytes(pages.read_bytes()[:-1])
    assert host.run(4, STANDS_STILL).output == b"kept\n"


def test_snapshot_whose_template_is_gone_costs_the_programs_and_no_file(host: Host) -> None:
    host.run(5, f"echo kept > file; {COUNT}")
    sleep(host, 5)
    fields = host.home / "machines" / "5" / "snapshot" / "snapshot.json"
    fields.write_text(json.dumps(json.loads(fields.read_text("utf-8")) | {"template": "gone"}), "utf-8")
    assert host.run(5, STANDS_STILL).output == b"kept\n"


def test_snapshot_is_used_once(host: Host) -> None:
    host.run(6, f"echo first > file; {COUNT}")
    sleep(host, 6)
    host.run(6, "echo second > file; sync")
    (status,) = [status for status in host.use(lambda client: client.statuses()) if status.tenant_id == 6]
    psutil.Process(status.process_id).kill()
    eventually(lambda: 6 not in awake(host), "a machine that was killed is still on the list")
    assert host.run(6, STANDS_STILL).output == b"second\n"


def test_host_that_stops_puts_programs_to_sleep_and_another_wakes_them(
    tmp_path: Path, address: DatabaseAddress
) -> None:
    with running_host(tmp_path, address) as host:
        before = int(host.run(20, COUNT).output)
    with running_host(tmp_path, address) as host:
        assert before <= int(host.run(20, "cat /tmp/count").output) < before + 50


def test_plan_without_memory_keeps_the_disk_alone(tmp_path: Path, cluster: DatabaseAddress) -> None:
    with (
        fresh_database(cluster) as address,
        running_host(tmp_path, address, plan={"sleeps_with_memory": False}) as host,
    ):
        host.run(1, f"echo kept > file; {COUNT}")
        sleep(host, 1)
        assert on_record(address, 1)[0] == "asleep"
        assert host.run(1, STANDS_STILL).output == b"kept\n"


def test_claim_keeps_a_machine_awake_until_it_is_given_up(tmp_path: Path, cluster: DatabaseAddress) -> None:
    with fresh_database(cluster) as address, running_host(tmp_path, address, plan={"idle_timeout_s": 1}) as host:
        host.run(1, "stay-awake 1h")
        host.run(2, "true")
        eventually(lambda: awake(host) == {1}, "the idle machine does not sleep, or the claimed one does")
        until = time.monotonic() + 2.5
        eventually(lambda: time.monotonic() > until, "")
        assert awake(host) == {1}
        host.run(1, "stay-awake off")
        eventually(lambda: not awake(host), "a machine without a claim does not sleep")


def test_claim_is_worth_no_more_than_the_budget(tmp_path: Path, cluster: DatabaseAddress) -> None:
    plan = {"idle_timeout_s": 1, "awake_s_per_day": 4}
    with fresh_database(cluster) as address, running_host(tmp_path, address, plan=plan) as host:
        began = time.monotonic()
        host.run(1, "stay-awake 1h")
        eventually(lambda: not awake(host), "a claim outlasts its budget")
        assert time.monotonic() - began > 3.0
        host.run(1, "true")  # what is used wakes all the same
        eventually(lambda: not awake(host), "a claim without a budget keeps a machine awake")


def test_machine_in_use_sleeps_when_a_budget_is_used_up_and_both_are_said(
    tmp_path: Path, cluster: DatabaseAddress
) -> None:
    budget = Budget(level=Level.TENANT, subject="*", kind=Kind.MACHINE_S, period=Period.DAY, hard=10)
    with fresh_database(cluster) as address:
        limit(address, budget)
        with running_host(tmp_path, address) as host:
            host.run(1, "echo kept > file")
            began = time.monotonic()
            with pytest.raises(Exhausted, match="so it stopped in the middle"):
                host.run(1, "sleep 60")
            assert time.monotonic() - began < 30
            with pytest.raises(Exhausted, match="Today's allowance for your computer is used up"):
                host.run(1, "true")
            limit(address, replace(budget, hard=1_000))
            assert host.run(1, "cat file").output == b"kept\n"


def test_full_host_queues_and_then_makes_room(tmp_path: Path, address: DatabaseAddress) -> None:
    with running_host(tmp_path, address, awake_limit=1, queue_s=60.0) as host:

        async def scenario(client: HostClient) -> list[bytes]:
            commands = [Command(text=f"sleep 1; echo {tenant}", timeout_s=60) for tenant in (30, 31, 32)]
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(client.run(TenantId(tenant), command))
                    for tenant, command in zip((30, 31, 32), commands, strict=True)
                ]
            return [task.result().output for task in tasks]

        assert host.use(scenario) == [b"30\n", b"31\n", b"32\n"]
        assert len(awake(host)) == 1


def test_waiting_machines_are_claimed(tmp_path: Path, address: DatabaseAddress) -> None:
    with running_host(tmp_path, address, pool_size=1) as host:
        eventually(lambda: len(host.machines()) == 1, "no machine waits")
        (waiting,) = host.machines()
        ids = {
            host.run(tenant, "cat /etc/machine-id /proc/sys/kernel/random/boot_id; hostname").output
            for tenant in (40, 41)
        }
        assert len(ids) == 2
        taken = {status.process_id for status in host.use(lambda client: client.statuses())}
        assert waiting.pid in taken
        assert host.run(40, "echo mine > file; sync; df --output=size -B1G / | tail -1").exit_status == 0
        sleep(host, 40)
        assert host.run(40, "cat file").output == b"mine\n"


def test_larger_plan_grows_the_disk(tmp_path: Path, cluster: DatabaseAddress) -> None:
    with fresh_database(cluster) as address:
        with running_host(tmp_path, address) as host:
            host.run(1, "echo mine > file")
        with running_host(tmp_path, address, plan={"disk_mb": 16_384}) as host:
            size = int(host.run(1, "df --output=size -B1M /home/agent | tail -1").output)
            assert size > 15_000
            assert host.run(1, "cat file").output == b"mine\n"
