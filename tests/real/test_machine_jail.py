"""What a QEMU process can reach of its host: nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.machines import Host, running_host

from subclaw.core.machine import MachineStatus
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

NAMESPACES = ("mnt", "pid", "ipc", "net", "uts", "cgroup")
FIRST_USER = 2_000_000_000


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    with fresh_database(cluster) as address, running_host(tmp_path_factory.mktemp("host"), address) as host:
        host.run(1, "true")
        host.run(2, "true")
        yield host


@pytest.fixture
def machines(host: Host) -> tuple[MachineStatus, ...]:
    return host.use(lambda client: client.statuses())


def status_fields(process_id: int) -> dict[str, str]:
    """Return what proc(5) says of a process."""
    lines = Path(f"/proc/{process_id}/status").read_text("utf-8").splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def test_each_runs_as_a_user_of_its_own_without_rights(machines: tuple[MachineStatus, ...]) -> None:
    fields = [status_fields(machine.process_id) for machine in machines]
    users = [set(of["Uid"].split()) | set(of["Gid"].split()) for of in fields]
    assert all(len(user) == 1 and int(min(user)) >= FIRST_USER for user in users)
    assert users[0] != users[1]
    for machine, of in zip(machines, fields, strict=True):
        allowed = {str(Path("/dev/kvm").stat().st_gid)} if machine.accelerator == "kvm" else set()
        assert set(of["Groups"].split()) <= allowed
        assert int(of["CapEff"], 16) == int(of["CapPrm"], 16) == int(of["CapInh"], 16) == int(of["CapAmb"], 16) == 0
        assert of["NoNewPrivs"] == "1"
        assert of["Seccomp"] == "2"


def test_each_is_in_namespaces_of_its_own(machines: tuple[MachineStatus, ...]) -> None:
    for namespace in NAMESPACES:
        processes = ["self", *(str(machine.process_id) for machine in machines)]
        assert len({os.readlink(f"/proc/{process}/ns/{namespace}") for process in processes}) == 3, namespace


def test_root_holds_qemu_and_nothing_else_and_is_read_only(machines: tuple[MachineStatus, ...]) -> None:
    for machine in machines:
        root = Path(f"/proc/{machine.process_id}/root")
        assert {path.name for path in root.iterdir()} == {"dev", "lib", "lib64", "proc", "usr"}
        assert [path.name for path in (root / "dev").iterdir()] == ["kvm"]
        assert {path.name for path in (root / "usr" / "bin").iterdir()} == {"qemu-system-x86_64", "setpriv"}
        mounts = Path(f"/proc/{machine.process_id}/mountinfo").read_text("utf-8").splitlines()
        where = {line.split()[4]: line.split()[5].split(",") for line in mounts}
        assert "ro" in where["/"]
        assert {point.split("/")[1] for point in where} <= {"", "proc", "dev"}


def test_the_only_network_is_a_loopback_that_is_down(machines: tuple[MachineStatus, ...]) -> None:
    for machine in machines:
        lines = Path(f"/proc/{machine.process_id}/net/dev").read_text("utf-8").splitlines()
        assert [line.split(":")[0].strip() for line in lines[2:]] == ["lo"]
        assert Path(f"/proc/{machine.process_id}/net/route").read_text("utf-8").count("\n") == 1


def test_open_files_are_its_own_disk_the_image_and_sockets(host: Host, machines: tuple[MachineStatus, ...]) -> None:
    for machine in machines:
        folder = Path(f"/proc/{machine.process_id}/fd")
        targets = [os.readlink(path) for path in folder.iterdir()]
        files = {target for target in targets if target.startswith("/") and not target.startswith("/memfd:")}
        of_tenants = {target for target in files if target.startswith(str(host.home))}
        assert of_tenants == {str(host.home / "machines" / str(machine.tenant_id) / "disk.raw")}
        others = {Path(target).name for target in files - of_tenants}
        assert others <= {"null", "kernel-head", "golden.erofs", "devices", "tun"}
        assert [target for target in targets if target == "/dev/net/tun"] == ["/dev/net/tun"]


def test_the_only_cable_leads_to_no_interface_of_the_hosts(host: Host, machines: tuple[MachineStatus, ...]) -> None:
    for machine in machines:
        told = [path.read_text("utf-8") for path in Path(f"/proc/{machine.process_id}/fdinfo").iterdir()]
        assert [line for text in told for line in text.splitlines() if line.startswith("iff:")] == ["iff:\ttap"]
    assert "tap:" not in Path("/proc/net/dev").read_text("utf-8")


def test_tenants_files_are_for_root_alone(host: Host) -> None:
    for path in (host.home / "machines").rglob("*"):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & 0o022
    for folder in (host.home / "machines").iterdir():
        assert folder.stat().st_mode & 0o077 == 0


def test_each_is_bounded(machines: tuple[MachineStatus, ...]) -> None:
    for machine in machines:
        groups = Path(f"/proc/{machine.process_id}/cgroup").read_text("utf-8")
        assert "/subclaw-" in groups
        limits = Path(f"/proc/{machine.process_id}/limits").read_text("utf-8").splitlines()
        cores = next(line for line in limits if line.startswith("Max core file size"))
        assert cores.split()[4:6] == ["0", "0"]


def test_nothing_is_left_of_a_machine_whose_launcher_is_killed(host: Host) -> None:
    host.run(3, "true")
    (machine,) = [status for status in host.use(lambda client: client.statuses()) if status.tenant_id == 3]
    first = int(status_fields(machine.process_id)["PPid"])
    launcher = int(status_fields(first)["PPid"])
    os.kill(launcher, 9)
    assert host.run(3, "echo back").output == b"back\n"
    assert not Path(f"/proc/{machine.process_id}").exists()
