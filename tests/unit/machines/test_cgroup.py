"""Control groups: the decisions, on folders laid out like hierarchies; `tests/real/test_cgroups.py` has real ones."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from subclaw.machines.cgroups.groups import open_groups, open_places
from subclaw.machines.cgroups.limits import Entry, Limits, entries
from subclaw.machines.cgroups.places import (
    Lack,
    Mount,
    Place,
    Resource,
    Survey,
    disk_number,
    parse_groups,
    parse_mounts,
    survey,
)

LIMITS = Limits(memory_bytes=1000, cpu_cores=1.5, cpu_weight=100, processes=9, disk_bytes_s=2000, disk_operations_s=30)
ALL = "cpuset cpu io memory pids"
MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:1 - cgroup cgroup rw,memory
33 31 0:30 /docker/1 /a\040folder\134 rw,relatime - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
cut
"""


def host(folder: Path, groups: str, mounts: str, files: Mapping[str, str]) -> Path:
    """Lay out a host: hierarchies mounted below a folder, and a process in groups of them; return the process's folder.

    `mounts` has a line each: a group, where it is mounted, kind, options. The kernel's own would have more files.
    """
    process = folder / "process"
    process.mkdir()
    lines = [
        f"1 2 0:3 {root} {folder}/{name} rw - {kind} x {options}"
        for root, name, kind, options in map(str.split, mounts.splitlines())
    ]
    (process / "mountinfo").write_text("\n".join(lines), "utf-8")
    (process / "cgroup").write_text(groups, "utf-8")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, "utf-8")
    return process


def unified(*names: str, on: str = "", held: str = "", offered: str = ALL) -> dict[str, str]:
    """Return the files of groups of version 2, of which the first is a true root."""
    files = {}
    for name in names:
        files[f"{name}/cgroup.controllers"] = offered
        files[f"{name}/cgroup.subtree_control"] = on
        files[f"{name}/cgroup.procs"] = "7\n" if name == held else ""
        files[f"{name}/cgroup.type"] = "domain\n"
    del files[f"{names[0]}/cgroup.type"]
    return files


def folders(found: Survey, top: Path) -> dict[Resource, str]:
    """Return where groups would be made, relative to a folder."""
    return {resource: str(place.folder.relative_to(top)) for resource, place in found.places.items()}


def test_hierarchies_are_told_from_other_mounts() -> None:
    assert parse_mounts(MOUNTS) == (
        Mount(
            version=1,
            root="/",
            folder=Path("/sys/fs/cgroup/memory"),
            options=frozenset({"rw", "memory"}),
        ),
        Mount(
            version=1,
            root="/docker/1",
            folder=Path("/a folder\\"),
            options=frozenset({"rw", "cpu", "cpuacct"}),
        ),
        Mount(
            version=2,
            root="/",
            folder=Path("/sys/fs/cgroup/unified"),
            options=frozenset({"rw", "nsdelegate"}),
        ),
    )


def test_the_groups_of_a_process_are_known_by_controller() -> None:
    assert parse_groups("4:memory:/a:b\n2:cpu,cpuacct:/c\n1:name=systemd:/d\n0::/e\n") == {
        "memory": "/a:b",
        "cpu": "/c",
        "cpuacct": "/c",
        "name=systemd": "/d",
        "": "/e",
    }


def test_version_2_has_the_nearest_group_without_processes(tmp_path: Path) -> None:
    files = unified("top", "top/slice", "top/slice/service", held="top/slice/service")
    process = host(tmp_path, "0::/slice/service\n", "/ top cgroup2 rw", files)
    found = survey(tmp_path, process)
    assert folders(found, tmp_path) == dict.fromkeys(found.places, "top/slice")
    assert {*found.places, *found.missing} == set(Resource)
    assert found.places[Resource.MEMORY].path == (tmp_path / "top", tmp_path / "top/slice")


def test_version_2_uses_its_true_root_though_it_holds_processes(tmp_path: Path) -> None:
    process = host(tmp_path, "0::/\n", "/ top cgroup2 rw", unified("top", held="top"))
    assert folders(survey(tmp_path, process), tmp_path)[Resource.CPU] == "top"


def test_version_2_offers_only_some_controllers(tmp_path: Path) -> None:
    process = host(tmp_path, "0::/\n", "/ top cgroup2 rw", unified("top", offered="memory pids"))
    found = survey(tmp_path, process)
    assert set(found.places) == {Resource.MEMORY, Resource.PROCESSES}
    assert found.missing[Resource.CPU] is Lack.NO_CONTROLLER


@pytest.mark.parametrize(("on", "lack"), [("", Lack.HELD), ("memory", None)])
def test_a_group_that_holds_processes_gives_only_what_it_gives_already(
    tmp_path: Path, on: str, lack: Lack | None
) -> None:
    files = unified("top", "top/held", "top/held/free", "top/held/free/own", held="top/held")
    files["top/held/cgroup.subtree_control"] = on
    process = host(tmp_path, "0::/held/free/own\n", "/ top cgroup2 rw", files)
    assert survey(tmp_path, process).missing.get(Resource.MEMORY) is lack


def test_version_1_is_bounded_below_the_group_of_the_process(tmp_path: Path) -> None:
    groups = "3:memory:/service\n2:cpu,cpuacct:/\n1:pids:/docker/1/inner\n"
    mounts = "/ memory cgroup rw,memory\n/ cpu cgroup rw,cpu,cpuacct\n/docker/1 pids cgroup rw,pids"
    for name in ("memory/service", "cpu", "pids/inner"):
        (tmp_path / name).mkdir(parents=True)
    found = survey(tmp_path, host(tmp_path, groups, mounts, {}))
    assert folders(found, tmp_path) == {
        Resource.MEMORY: "memory/service",
        Resource.CPU: "cpu",
        Resource.PROCESSES: "pids/inner",
    }
    assert found.accounting == Place(version=1, path=(tmp_path / "cpu",))
    assert Resource.DISK in found.missing


@pytest.mark.parametrize("own", ["/elsewhere/1", "/docker/1/removed", "/docker/1/../2", "/docker/1"])
def test_a_group_that_is_not_seen_is_the_mounted_one(tmp_path: Path, own: str) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "2").mkdir()
    process = host(tmp_path, f"1:memory:{own}\n", "/docker/1 memory cgroup rw,memory", {})
    assert folders(survey(tmp_path, process), tmp_path)[Resource.MEMORY] == "memory"


def test_each_controller_is_taken_from_where_it_is(tmp_path: Path) -> None:
    mounts = "/ memory cgroup rw,memory\n/ top cgroup2 rw"
    (tmp_path / "memory").mkdir()
    found = survey(tmp_path, host(tmp_path, "1:memory:/\n0::/\n", mounts, unified("top", offered="pids")))
    assert {resource: place.version for resource, place in found.places.items()} == {
        Resource.MEMORY: 1,
        Resource.PROCESSES: 2,
    }


def test_a_kernel_without_control_groups_bounds_nothing(tmp_path: Path) -> None:
    process = host(tmp_path, "", "", {})
    (process / "cgroup").unlink()
    found = survey(tmp_path, process)
    assert found.places == {}
    assert set(found.missing) == set(Resource)


def test_a_partition_is_bounded_as_its_disk(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    partition = tmp_path / "nvme0n1/nvme0n1p1"
    partition.mkdir(parents=True)
    (tmp_path / "nvme0n1/dev").write_text("259:0\n", "ascii")
    (partition / "dev").write_text("259:1\n", "ascii")
    devices = tmp_path / "devices"
    devices.mkdir()
    (devices / f"{os.major(number)}:{os.minor(number)}").symlink_to(partition)
    assert disk_number(tmp_path / "not/yet/there", devices) == "259:1"
    (partition / "partition").write_text("1\n", "ascii")
    assert disk_number(tmp_path / "not/yet/there", devices) == "259:0"


def test_a_file_system_without_a_disk_has_none() -> None:
    assert disk_number(Path("/proc")) is None


def test_a_folder_that_is_no_control_group_bounds_nothing(tmp_path: Path) -> None:
    found = Survey(
        places={
            Resource.MEMORY: Place(version=1, path=(tmp_path,)),
            Resource.CPU: Place(version=1, path=(tmp_path / "missing",)),
            Resource.PROCESSES: Place(version=2, path=(Path("/proc"),)),
        },
        missing={Resource.DISK: Lack.NO_DISK},
        accounting=Place(version=1, path=(tmp_path / "missing",)),
        disk=None,
    )
    groups = open_places(found, "subclaw-test")
    assert groups.missing == {
        Resource.MEMORY: Lack.NO_CONTROLLER,
        Resource.CPU: Lack.REFUSED,
        Resource.PROCESSES: Lack.REFUSED,
        Resource.DISK: Lack.NO_DISK,
    }


def test_a_host_that_can_bound_nothing_still_runs_machines() -> None:
    nothing = Survey(places={}, missing=dict.fromkeys(Resource, Lack.NO_CONTROLLER), accounting=None, disk=None)
    groups = open_places(nothing, "subclaw-test")
    group = groups.make("machine", LIMITS)
    group.add(os.getpid())
    assert group.process_ids() == frozenset()
    assert group.usage().memory_bytes is None
    assert group.usage().cpu_s is None
    group.kill()
    group.remove()
    assert groups.left_over() == ()
    groups.close()


@pytest.mark.parametrize(
    ("resource", "version", "written"),
    [
        (
            Resource.MEMORY,
            1,
            "memory.memsw.limit_in_bytes=-1 memory.limit_in_bytes=1000 memory.memsw.limit_in_bytes=1000",
        ),
        (Resource.MEMORY, 2, "memory.swap.max=0 memory.max=1000"),
        (Resource.CPU, 1, "cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000 cpu.shares=1024"),
        (Resource.CPU, 2, "cpu.max=150000,100000 cpu.weight=100"),
        (Resource.PROCESSES, 1, "pids.max=9"),
        (Resource.PROCESSES, 2, "pids.max=9"),
        (
            Resource.DISK,
            1,
            "blkio.throttle.read_bps_device=8:0,2000 blkio.throttle.read_iops_device=8:0,30 "
            "blkio.throttle.write_bps_device=8:0,2000 blkio.throttle.write_iops_device=8:0,30",
        ),
        (Resource.DISK, 2, "io.max=8:0,rbps=2000,wbps=2000,riops=30,wiops=30"),
    ],
)
def test_limits_are_written_as_each_version_wants_them(resource: Resource, version: int, written: str) -> None:
    told = entries(resource, version, LIMITS, "8:0")
    assert [f"{entry.file}={entry.text}".replace(" ", ",") for entry in told] == written.split()


def test_only_swap_may_be_missing() -> None:
    told = [entry for resource in Resource for version in (1, 2) for entry in entries(resource, version, LIMITS, "8:0")]
    assert {entry.file for entry in told if entry.optional} == {"memory.memsw.limit_in_bytes", "memory.swap.max"}
    assert [entry for entry in told if entry.otherwise] == [
        Entry(file="cpu.cfs_quota_us", text="150000", otherwise="-1")
    ]


def test_homes_have_groups_of_their_own(tmp_path: Path) -> None:
    one, other = open_groups(tmp_path / "one"), open_groups(tmp_path / "other")
    try:
        assert not set(one.folders) & set(other.folders)
        assert {*one.seats, *one.missing} == set(Resource)
    finally:
        one.close()
        other.close()
