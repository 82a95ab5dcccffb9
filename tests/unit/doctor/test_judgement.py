"""What the doctor makes of the facts."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from subclaw.doctor import PROGRAMS, Finding, HostFacts, Level, PortHolder, Setting, examine, render
from subclaw.doctor.judgement import GIB
from subclaw.machines.cgroups.places import Lack, Place, Resource, Survey


def bounded(version: int, **missing: Lack) -> Survey:
    """Return what is found where all but what is missing can be bounded by one version."""
    lacks = {Resource[name]: lack for name, lack in missing.items()}
    place = Place(version=version, path=(Path("/sys/fs/cgroup"),))
    places = {resource: place for resource in Resource if resource not in lacks}
    return Survey(places=places, missing=lacks, accounting=None, disk="8:0")


HEALTHY = HostFacts(
    system="Debian GNU/Linux 12 (bookworm)",
    is_debian_12=True,
    architecture="x86_64",
    kernel="6.1.0",
    python=(3, 11),
    is_root=True,
    programs=dict.fromkeys(PROGRAMS, True),
    missing_users=(),
    can_import=True,
    has_kvm=True,
    memory_bytes=8 * GIB,
    memory_available_bytes=6 * GIB,
    state_folder=Path("/var/lib/subclaw"),
    state_free_bytes=50 * GIB,
    cache_folder=Path("/var/cache/subclaw"),
    cache_free_bytes=50 * GIB,
    ports=(8080,),
    port_holders=(),
    limits=bounded(2),
    door_complaint="",
    has_seccomp=True,
    missing_namespaces=(),
    now_s=2_000_000_000.0,
    product_from_s=1_990_000_000.0,
    clock_is_kept=True,
)
SET = Setting(image_built=True, kvm_works=True, model_keys=("OPENAI_API_KEY",))
CADDY = PortHolder(port=8080, user="caddy", program="caddy", pid=77)


def complaints(setting: Setting = SET, **changed: Any) -> list[Finding]:
    findings = examine(dataclasses.replace(HEALTHY, **changed), setting)
    return [finding for finding in findings if finding.level is not Level.OK]


def test_a_healthy_host_has_nothing_to_mend() -> None:
    assert complaints() == []


@pytest.mark.parametrize(
    ("changed", "level", "word", "remedy"),
    [
        ({"is_debian_12": False, "system": "Ubuntu"}, Level.PROBLEM, "Ubuntu", "Debian 12"),
        ({"architecture": "aarch64"}, Level.PROBLEM, "aarch64", "x86_64"),
        ({"python": (3, 9)}, Level.PROBLEM, "Python 3.9", "python3"),
        ({"is_root": False, "can_import": None, "limits": None, "door_complaint": None}, Level.PROBLEM, "root", "sudo"),
        ({"missing_users": ("subclaw-db",), "can_import": None}, Level.PROBLEM, "subclaw-db", "make setup"),
        ({"can_import": False}, Level.PROBLEM, "cannot read", "make setup"),
        ({"has_seccomp": False}, Level.PROBLEM, "seccomp", "kernel"),
        ({"missing_namespaces": ("net", "pid")}, Level.PROBLEM, "net, pid", "kernel"),
        ({"limits": bounded(1)}, Level.NOTE, "v1 bounds disk I/O in part", "unified"),
        ({"limits": bounded(2, DISK=Lack.NO_DISK)}, Level.NOTE, "disk I/O cannot be bounded", "ext4"),
        (
            {"limits": bounded(2, CPU=Lack.NO_CONTROLLER, PROCESSES=Lack.NO_CONTROLLER)},
            Level.NOTE,
            "processor time, number of processes cannot be bounded: no controller",
            "unified",
        ),
        (
            {"limits": bounded(2, **dict.fromkeys(Resource.__members__, Lack.HELD))},
            Level.NOTE,
            "holds processes",
            "host",
        ),
        ({"limits": bounded(2, MEMORY=Lack.READ_ONLY)}, Level.NOTE, "memory cannot be bounded", "privileged"),
        ({"door_complaint": "nft: no"}, Level.PROBLEM, "network cannot be made: nft: no", "nf_tables"),
        ({"has_kvm": False}, Level.NOTE, "/dev/kvm", "firmware"),
        ({"memory_bytes": GIB // 2}, Level.PROBLEM, "0.5 GiB", "2.0 GiB"),
        ({"memory_available_bytes": GIB // 4}, Level.NOTE, "0.2 GiB available", "memory"),
        ({"state_free_bytes": GIB // 2}, Level.PROBLEM, "/var/lib/subclaw", "SUBCLAW_HOME"),
        ({"state_free_bytes": 3 * GIB}, Level.NOTE, "/var/lib/subclaw", "SUBCLAW_HOME"),
        ({"port_holders": (CADDY,)}, Level.PROBLEM, "8080 is taken by caddy (process 77, user caddy)", "SUBCLAW_PORT"),
        ({"now_s": 1_000_000_000.0}, Level.PROBLEM, "clock", "set the clock"),
        ({"clock_is_kept": False}, Level.NOTE, "clock", "timesyncd"),
    ],
)
def test_one_thing_wrong_is_one_finding(changed: dict[str, Any], level: Level, word: str, remedy: str) -> None:
    (finding,) = complaints(**changed)
    assert finding.level is level
    assert word in finding.what
    assert remedy in finding.remedy
    assert finding.why


def test_what_can_be_bounded_is_named_with_the_version() -> None:
    mixed = {**bounded(2).places, Resource.CPU: Place(version=1, path=(Path("/cpu"),))}
    findings = examine(dataclasses.replace(HEALTHY, limits=dataclasses.replace(bounded(2), places=mixed)), SET)
    assert [finding.what for finding in findings if "bounded" in finding.what] == [
        "each machine's memory, number of processes, disk I/O can be bounded (cgroup v2)",
        "each machine's processor time can be bounded (cgroup v1)",
    ]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_missing_program_is_named_with_its_package_and_use(program: str) -> None:
    (finding,) = complaints(programs={**HEALTHY.programs, program: False})
    assert finding.level is Level.PROBLEM
    assert program in finding.what
    assert "apt-get install" in finding.remedy


def test_a_port_that_subclaw_holds_is_well() -> None:
    assert complaints(port_holders=(dataclasses.replace(CADDY, user="subclaw-caddy"),)) == []


def test_a_holder_that_may_not_be_seen_is_told_by_its_user() -> None:
    (finding,) = complaints(port_holders=(PortHolder(port=8080, user="www-data", program=None, pid=None),))
    assert "a program of the user www-data" in finding.what


@pytest.mark.parametrize(
    ("setting", "level", "word"),
    [
        (dataclasses.replace(SET, image_built=False), Level.PROBLEM, "golden image"),
        (dataclasses.replace(SET, kvm_works=None), Level.NOTE, "not tried"),
        (dataclasses.replace(SET, kvm_works=False), Level.NOTE, "did not boot"),
        (dataclasses.replace(SET, model_keys=()), Level.NOTE, "demo model"),
    ],
)
def test_what_subclaw_knows_itself_is_judged(setting: Setting, level: Level, word: str) -> None:
    (finding,) = complaints(setting)
    assert finding.level is level
    assert word in finding.what


def test_room_for_an_image_is_needed_only_until_it_is_built() -> None:
    assert complaints(cache_free_bytes=GIB) == []
    words = [finding.what for finding in complaints(dataclasses.replace(SET, image_built=False), cache_free_bytes=GIB)]
    assert any("/var/cache/subclaw" in what for what in words)


def test_what_is_printed_says_what_to_do() -> None:
    text = io.StringIO()
    render(examine(dataclasses.replace(HEALTHY, has_kvm=False), SET), Console(file=text, width=200))
    assert "no /dev/kvm" in text.getvalue()
    assert "do:  turn virtualisation on" in text.getvalue()
    assert text.getvalue().endswith("This host is fit for subclaw.\n")
    render(examine(dataclasses.replace(HEALTHY, is_root=False), SET), Console(file=text, width=200))
    assert text.getvalue().endswith("1 problem to mend.\n")
