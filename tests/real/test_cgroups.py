"""Control groups bound real processes: on this host, with what it has, and in a machine, whose kernel has version 2.

`cgroup_scenario.py` does the work and prints what happened; the tests judge it.
"""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real.machines import ROOT, Host, running_host

from subclaw.core.tenant import TenantId
from subclaw.machines.cgroups.places import Resource, survey
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

MIB = 1024**2
SCENARIO = ROOT / "tests/real/cgroup_scenario.py"
SENT = [
    *(f"subclaw/{name}.py" for name in ("__init__", "core/__init__", "core/errors", "core/tenant")),
    *(f"subclaw/machines/{name}.py" for name in ("__init__", "qemu/__init__", "qemu/processes")),
    *(f"subclaw/machines/cgroups/{path.name}" for path in (ROOT / "src/subclaw/machines/cgroups").glob("*.py")),
]
TENANT = TenantId(1)
ENTER_GROUP = "mkdir -p {0} && echo $$ > {0}/cgroup.procs && "
NEEDED = {
    "memory": Resource.MEMORY,
    "processes": Resource.PROCESSES,
    "cpu": Resource.CPU,
    "narrow": Resource.CPU,
    "disk": Resource.DISK,
    "refused": Resource.PROCESSES,
}
"""What each scenario bounds."""

Run = Callable[[str], Any]
"""Runs a scenario and returns what it printed."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    """A host with a machine that has the modules under test, and version 2's hierarchy at /cgroup alone."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(SCENARIO, "scenario.py")
        for name in SENT:
            archive.add(ROOT / "src" / name, name)
    with fresh_database(cluster) as address, running_host(tmp_path_factory.mktemp("host"), address) as host:
        host.use(lambda client: client.write(TENANT, "/home/agent/code.tar", content.getvalue()))
        command = "tar -C /home/agent -xf code.tar && mkdir /cgroup && mount --move /sys/fs/cgroup /cgroup"
        assert host.run(TENANT, command).exit_status == 0
        yield host


def run_in(machine: Host, name: str, *, before: str = "", through: str = "") -> Any:
    """Run a scenario in the machine, `before` it something in the same shell, and `through` a program."""
    leave_group = "echo $$ > /cgroup/cgroup.procs && "
    command = f"cd /home/agent && {leave_group} {before} {through} python3 scenario.py {name} /home/agent"
    result = machine.run(TENANT, command, timeout_s=120)
    assert result.exit_status == 0, result.output.decode()
    return json.loads(result.output.splitlines()[-1])  # what is logged comes first


def run_here(folder: Path, name: str) -> Any:
    """Run a scenario on this host."""
    command = [sys.executable, str(SCENARIO), name, str(folder)]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}", "LC_ALL": "C"}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=120).stdout)


@pytest.fixture(params=["this host", "version 2, in a machine"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Run scenarios in one of the two."""
    if request.param != "this host":
        machine = request.getfixturevalue("machine")
        return lambda name: run_in(machine, name)

    def here(name: str) -> Any:
        lack = survey(tmp_path).missing.get(NEEDED[name]) if name in NEEDED else None
        if lack:
            pytest.skip(f"this host cannot bound it: {lack.value}")
        return run_here(tmp_path, name)

    return here


def test_who_eats_too_much_memory_is_killed_and_counted(run: Run) -> None:
    result = run("memory")
    assert result["said"] == ["", "eaten"]
    assert result["statuses"] == [-9, 0]
    assert result["usage"]["memory_kills"] == 1
    assert 32 * MIB < result["usage"]["memory_peak_bytes"] <= 64 * MIB
    assert result["usage"]["memory_bytes"] < 32 * MIB
    assert result["usage"]["cpu_s"] > 0


def test_a_fork_bomb_stops_at_the_limit_and_is_ended(run: Run) -> None:
    assert run("processes") == {
        "most": 16,
        "in_use": "The machine has not ended.",
        "left": [],
        "status": -9,
        "gone": "The machine could not be bounded.",
    }


def test_a_busy_loop_gets_its_ration_of_processor_time_and_no_more(run: Run) -> None:
    result = run("cpu")
    assert result["rations"] < result["periods"] + 3


def test_reading_and_writing_are_slowed_down_to_the_limit(run: Run) -> None:
    result = run("disk")
    assert result["read_s"] > 1.5
    assert result["write_s"] > 1.5


def test_what_an_earlier_host_left_is_found_ended_and_removed(run: Run) -> None:
    assert run("restart") == {
        "found": ["empty", "scenario"],
        "status": -9,
        "taken": "The machine's control group is in use.",
        "after": [],
        "folders": [],
    }


def test_a_group_above_that_allows_less_holds(run: Run) -> None:
    result = run("narrow")
    assert result["quota"] == {1: "-1", 2: "50000 100000"}[result["version"]]


def test_limits_that_the_kernel_refuses_make_no_group(run: Run) -> None:
    assert run("refused") == {"reason": "The machine's limits cannot be set.", "left": ["scenario"]}


def test_what_is_found_can_be_opened_and_leaves_nothing(run: Run) -> None:
    result = run("places")
    assert set(result["opened"]) == set(result["survey"])
    for resource, (version, folder) in result["opened"].items():
        assert [version, str(Path(folder).parent)] == result["survey"][resource]
    assert result["missing"] == result["refused"]
    assert result["left"] == []


def test_all_can_be_bounded_by_version_2(machine: Host) -> None:
    result = run_in(machine, "places")
    assert result["survey"] == {resource: [2, "/cgroup"] for resource in ("memory", "cpu", "pids", "io")}
    assert result["missing"] == {}


def test_groups_of_version_2_are_made_below_the_nearest_that_holds_no_process(machine: Host) -> None:
    enter = ENTER_GROUP.format("/cgroup/slice/service")
    assert run_in(machine, "places", before=enter)["survey"]["memory"] == [2, "/cgroup/slice"]
    assert run_in(machine, "memory", before=enter)["statuses"] == [-9, 0]


def test_a_box_whose_uppermost_group_holds_processes_is_told_so(machine: Host) -> None:
    """In a namespace of control groups, as in a container, what is uppermost is an ordinary group."""
    remount = "sh -c 'umount /cgroup && mount -t cgroup2 none /cgroup && exec \"$@\"' -"
    enter = ENTER_GROUP.format("/cgroup/box")
    result = run_in(machine, "places", before=enter, through=f"unshare --cgroup --mount {remount}")
    assert result["opened"] == {}
    assert set(result["missing"]) == {"memory", "cpu", "pids", "io"}
    assert len(set(result["missing"].values())) == 1
    assert "holds processes" in result["missing"]["memory"]


def test_a_hierarchy_that_cannot_be_written_is_told_so(machine: Host) -> None:
    through = "unshare --mount sh -c 'mount -o remount,bind,ro /cgroup && exec \"$@\"' -"
    result = run_in(machine, "places", through=through)
    assert result["opened"] == {}
    assert set(result["missing"].values()) == {"its control groups cannot be written"}
