"""QEMU's command line, and what is known of the host's processor."""

from pathlib import Path

import pytest

from subclaw.machines.accelerator import measure_tsc_khz, read_verdict, write_verdict
from subclaw.machines.image import Image
from subclaw.machines.qemu import Acceleration, Accelerator, Descriptors, Launch, Owner, arguments, groups_for

DESCRIPTORS = Descriptors(kernel=10, initramfs=11, golden=12, disk=13, monitor=14, agent=15)


def launch(kind: Acceleration, owner: Owner | None) -> Launch:
    return Launch(
        name="subclaw-1",
        image=Image(digest="abc", folder=Path("/images/abc")),
        disk=Path("/disks/1"),
        accelerator=Accelerator(kind=kind, tsc_khz=2_500_000),
        memory_mb=256,
        owner=owner,
    )


def test_qemu_gives_up_every_privilege_and_is_told_no_path() -> None:
    line = arguments(launch(Acceleration.TCG, Owner(user_id=12, group_id=34)), DESCRIPTORS, [])
    assert line[:7] == "setpriv --reuid=12 --regid=34 --clear-groups --no-new-privs --pdeathsig=KILL --".split()
    text = " ".join(line)
    assert "elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in text
    assert "/images" not in text
    assert "/disks" not in text
    assert "net" not in text
    assert line[line.index("-name") + 1] == "subclaw-1"


def test_qemu_is_in_no_group_but_kvms() -> None:
    tcg = launch(Acceleration.TCG, Owner(user_id=12, group_id=34))
    assert groups_for(tcg.accelerator) == []
    kvm = launch(Acceleration.KVM, Owner(user_id=12, group_id=34))
    line = arguments(kvm, DESCRIPTORS, [108])
    assert line[:4] == ["setpriv", "--reuid=12", "--regid=34", "--groups=108"]
    assert 0 not in groups_for(kvm.accelerator)


def test_golden_image_is_the_first_disk_and_read_only() -> None:
    line = arguments(launch(Acceleration.TCG, None), DESCRIPTORS, [])
    drives = [part for part in line if part.startswith("virtio-blk-device")]
    assert [drive.split(",")[1] for drive in drives] == ["drive=golden", "drive=disk"]
    nodes = [part for part in line if part.startswith("driver=")]
    assert [("read-only=on" in node) for node in nodes] == [True, True, False, False]


@pytest.mark.parametrize(("kind", "told"), [(Acceleration.TCG, True), (Acceleration.KVM, False)])
def test_only_tcg_is_told_the_clock(kind: Acceleration, told: bool) -> None:
    line = arguments(launch(kind, None), DESCRIPTORS, [])
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
