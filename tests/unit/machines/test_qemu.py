"""QEMU's command line, and what is known of the host's processor."""

from pathlib import Path

import pytest

from subclaw.machines.qemu.accelerator import measure_tsc_khz, read_verdict, write_verdict
from subclaw.machines.qemu.command_line import Acceleration, Accelerator, Descriptors, Launch, Memory, arguments
from subclaw.machines.qemu.jail import Jail, command_in_jail

DESCRIPTORS = Descriptors(
    kernel=10, initramfs=11, golden=12, disk=13, memory=14, monitor=15, agent=16, tap=17, incoming=None
)
JAIL = Jail(root=Path("/jail"), build="abc", first_user=2_000_000_000)


def launch(kind: Acceleration, incoming: int | None = None) -> Launch:
    return Launch(
        name="subclaw-1",
        kernel=Path("/images/kernel"),
        initramfs=Path("/images/initramfs"),
        golden=Path("/images/golden"),
        disk=Path("/disks/1"),
        accelerator=Accelerator(kind=kind, tsc_khz=2_500_000),
        memory=Memory(descriptor=14, size_mb=256, shared=incoming is None),
        jail=JAIL,
        user=2_000_000_007,
        tap=17,
        incoming=incoming,
    )


def test_qemu_is_told_no_path_and_has_no_network_but_its_cable() -> None:
    line = arguments(launch(Acceleration.TCG), DESCRIPTORS)
    text = " ".join(line)
    assert "elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in text
    assert "/images" not in text
    assert "/disks" not in text
    assert [line[place + 1] for place, part in enumerate(line) if part == "-netdev"] == ["tap,id=cable,fd=17,vhost=off"]
    assert [part for part in line if part.startswith("virtio-net")] == [
        "virtio-net-device,netdev=cable,mac=02:00:00:00:00:15,guest_announce=off"
    ]
    assert line[line.index("-name") + 1] == "subclaw-1"


def test_jail_gives_up_every_privilege() -> None:
    line = command_in_jail(JAIL, 2_000_000_007, with_kvm=False, information=3, start=4)
    text = " ".join(line)
    for namespace in ("pid", "ipc", "net", "uts", "cgroup"):
        assert f"--unshare-{namespace}" in line
    assert "--ro-bind /jail /" in text
    assert "/dev" not in text
    assert "--reuid=2000000007 --regid=2000000007 --clear-groups" in text
    assert "--inh-caps=-all --ambient-caps=-all --no-new-privs -- " in f"{text} "


def test_golden_image_is_the_first_disk_and_read_only() -> None:
    line = arguments(launch(Acceleration.TCG), DESCRIPTORS)
    drives = [part for part in line if part.startswith("virtio-blk-device")]
    assert [drive.split(",")[1] for drive in drives] == ["drive=golden", "drive=disk"]
    nodes = [part for part in line if part.startswith("driver=")]
    assert [("read-only=on" in node) for node in nodes] == [True, True, False, False]


def test_template_is_not_written_to_and_a_machine_waits_for_it() -> None:
    booting = arguments(launch(Acceleration.TCG), DESCRIPTORS)
    restoring = arguments(launch(Acceleration.TCG, incoming=18), DESCRIPTORS)
    assert any("share=on" in part for part in booting)
    assert not any("share=on" in part for part in restoring)
    assert "-incoming" not in booting
    assert restoring[-3:] == ["-S", "-incoming", "defer"]


@pytest.mark.parametrize(("kind", "told"), [(Acceleration.TCG, True), (Acceleration.KVM, False)])
def test_only_tcg_is_told_the_clock(kind: Acceleration, told: bool) -> None:
    line = arguments(launch(kind), DESCRIPTORS)
    assert ("tsc_early_khz=2500000" in line[line.index("-append") + 1]) is told


def test_clock_is_measured() -> None:
    rates = [measure_tsc_khz() for _ in range(3)]
    assert max(rates) / min(rates) < 1.01
    assert 100_000 < rates[0] < 20_000_000


def test_verdict_is_of_its_key(tmp_path: Path) -> None:
    assert read_verdict(tmp_path, "key") is None
    write_verdict(tmp_path, "key", Acceleration.TCG)
    assert read_verdict(tmp_path, "key") is Acceleration.TCG
    assert read_verdict(tmp_path, "other") is None
    (tmp_path / "accelerator.json").write_text("{", "utf-8")
    assert read_verdict(tmp_path, "key") is None
