"""Checkpoints of a tenant's disk, and going back to them."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.disks import TENANT, contents, labels, tenant_folder, write

from subclaw.core.errors import Corrupt, Exhausted, Invalid, NotFound
from subclaw.machines.disks.checkpoints import list_checkpoints, make_checkpoint, roll_back
from subclaw.machines.disks.disk import erase, folder_of
from subclaw.machines.disks.record import Record, write_record
from subclaw.machines.starts import prepare_disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_turn_is_undone_and_the_undoing_too(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    for turn, content in (("turn-1", "two"), ("turn-2", "three"), ("turn-3", "now")):
        make_checkpoint(folder, turn)
        write(folder, content)
    assert contents(folder) == {"disk": "now", "turn-1": "one", "turn-2": "two", "turn-3": "three"}
    roll_back(folder, "turn-2")
    assert contents(folder) == {"disk": "two", "turn-1": "one", "before-roll-back": "now"}
    roll_back(folder, "before-roll-back")
    assert contents(folder) == {"disk": "now", "turn-1": "one", "before-roll-back": "two"}
    roll_back(folder, "turn-1")
    assert contents(folder) == {"disk": "one", "before-roll-back": "now"}
    make_checkpoint(folder, "turn-1")
    write(folder, "other")
    assert contents(folder) == {"disk": "other", "before-roll-back": "now", "turn-1": "one"}


def test_a_turn_that_is_tried_again_keeps_the_state_from_before_it(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "before")
    first = make_checkpoint(folder, "turn")
    write(folder, "half done")
    assert make_checkpoint(folder, "turn") == first
    assert contents(folder) == {"disk": "half done", "turn": "before"}


def test_the_newest_three_are_kept(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "0")
    for number in range(1, 12):
        make_checkpoint(folder, f"turn-{number}")
        write(folder, f"{number}")
    assert contents(folder) == {"disk": "11", "turn-9": "8", "turn-10": "9", "turn-11": "10"}
    assert [checkpoint.number for checkpoint in list_checkpoints(folder)] == [9, 10, 11]


def test_a_checkpoint_of_what_was_not_written_since_is_the_same_file(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    made = [make_checkpoint(folder, f"turn-{number}") for number in range(3)]
    assert len({checkpoint.path.stat().st_ino for checkpoint in made}) == 1
    assert (folder / "disk.raw").stat().st_nlink == 1
    # A write shows at once, even in the same tick of the file system's clock, and even if the content is the same.
    write(folder, "one")
    assert make_checkpoint(folder, "turn-3").path.stat().st_nlink == 1


def test_a_shared_checkpoint_is_not_written_after_going_back_to_it(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    for turn in ("turn-1", "turn-2", "turn-3"):
        make_checkpoint(folder, turn)
    write(folder, "now")
    roll_back(folder, "turn-2")
    assert (folder / "disk.raw").stat().st_nlink == 1
    write(folder, "new")
    assert contents(folder) == {"disk": "new", "turn-1": "one", "before-roll-back": "now"}


def test_a_file_that_only_newer_checkpoints_share_is_renamed(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    made = [make_checkpoint(folder, turn) for turn in ("turn-1", "turn-2")]
    write(folder, "now")
    file = made[0].path.stat().st_ino
    roll_back(folder, "turn-1")
    assert (folder / "disk.raw").stat().st_ino == file
    assert (folder / "disk.raw").stat().st_nlink == 1
    assert contents(folder) == {"disk": "one", "before-roll-back": "now"}


def test_a_checkpoint_with_a_name_elsewhere_is_copied(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    os.link(make_checkpoint(folder, "turn").path, tmp_path / "backup")
    roll_back(folder, "turn")
    write(folder, "new")
    assert (tmp_path / "backup").read_bytes().rstrip(b"\0") == b"one"


def test_the_first_checkpoint_after_going_back_is_a_copy(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    make_checkpoint(folder, "turn-1")
    roll_back(folder, "turn-1")
    make_checkpoint(folder, "turn-2")
    assert (folder / "disk.raw").stat().st_nlink == 1
    assert {checkpoint.path.stat().st_nlink for checkpoint in list_checkpoints(folder)} == {1}


def test_a_write_in_the_tick_of_the_last_one_is_seen(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    tick = (folder / "disk.raw").stat()
    make_checkpoint(folder, "turn-1")
    write(folder, "two")
    os.utime(folder / "disk.raw", ns=(tick.st_atime_ns, tick.st_mtime_ns))
    make_checkpoint(folder, "turn-2")
    assert contents(folder) == {"disk": "two", "turn-1": "one", "turn-2": "two"}


def test_after_a_boot_of_the_host_times_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tenant_folder(tmp_path, "one")
    make_checkpoint(folder, "turn-1")
    (tmp_path / "boot_id").write_text("another\n", "utf-8")
    monkeypatch.setattr("subclaw.machines.disks.checkpoints.BOOT_ID", tmp_path / "boot_id")
    assert make_checkpoint(folder, "turn-2").path.stat().st_nlink == 1
    assert make_checkpoint(folder, "turn-3").path.stat().st_nlink == 2


def test_files_that_the_operator_replaced_or_removed_are_not_taken_for_the_old_ones(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    make_checkpoint(folder, "turn-1")
    write(folder, "two")
    make_checkpoint(folder, "turn-2").path.unlink()
    assert make_checkpoint(folder, "turn-3").path.stat().st_nlink == 1
    disk = folder / "disk.raw"
    times = disk.stat()
    disk.rename(tmp_path / "old")
    disk.write_bytes(b"three".ljust(times.st_size, b"\0"))
    os.utime(disk, ns=(times.st_atime_ns, times.st_mtime_ns))
    make_checkpoint(folder, "turn-4")
    assert contents(folder) == {"disk": "three", "turn-1": "one", "turn-3": "two", "turn-4": "three"}


def test_a_disk_that_was_written_between_two_roll_backs_is_not_shared(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    make_checkpoint(folder, "turn-1")
    roll_back(folder, "turn-1")
    write(folder, "two")
    roll_back(folder, "before-roll-back")
    make_checkpoint(folder, "turn-2")
    assert contents(folder) == {"disk": "one", "before-roll-back": "two", "turn-2": "one"}


def test_there_is_one_state_from_before_a_roll_back(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    make_checkpoint(folder, "turn-1")
    write(folder, "two")
    roll_back(folder, "turn-1")
    make_checkpoint(folder, "turn-2")
    write(folder, "three")
    roll_back(folder, "turn-2")
    assert contents(folder) == {"disk": "one", "before-roll-back": "three"}
    assert labels(folder) == ["before-roll-back"]


def test_a_disk_that_was_grown_has_its_old_size_again(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    before_bytes = (folder / "disk.raw").stat().st_size
    make_checkpoint(folder, "turn-1")
    os.truncate(folder / "disk.raw", 2 * before_bytes)
    roll_back(folder, "turn-1")
    assert (folder / "disk.raw").stat().st_size == before_bytes


@pytest.mark.parametrize("label", ["", "a/b", "..", "A", "ä", "a" * 65, "a\n", "before-roll-back"])
def test_labels_that_cannot_be(tmp_path: Path, label: str) -> None:
    folder = tenant_folder(tmp_path, "one")
    with pytest.raises(Invalid):
        make_checkpoint(folder, label)
    with pytest.raises(NotFound):
        roll_back(folder, label)
    assert contents(folder) == {"disk": "one"}


def test_what_is_not_there(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "nobody") == ()
    with pytest.raises(NotFound) as caught:
        roll_back(tmp_path / "nobody", "turn-1")
    assert "no such checkpoint" in caught.value.public
    folder = tenant_folder(tmp_path, "one")
    make_checkpoint(folder, "turn-1")
    (folder / "disk.raw").unlink()
    for call in (make_checkpoint, roll_back):
        with pytest.raises(Corrupt, match="no disk"):
            call(folder, "turn-1" if call is roll_back else "turn-2")


def test_no_room(small_disk: Path) -> None:
    folder = tenant_folder(small_disk, "one")
    disk = folder / "disk.raw"
    disk.write_bytes(b"y" * 80_000)
    make_checkpoint(folder, "turn-1")
    make_checkpoint(folder, "turn-2")
    with disk.open("r+b") as file:
        file.write(b"x" * 600_000)
    with pytest.raises(Exhausted) as caught:
        make_checkpoint(folder, "turn-3")
    assert "full" in caught.value.public
    assert labels(folder) == ["turn-1", "turn-2"]
    (folder / "filler").write_bytes(b"x" * (os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize))
    with pytest.raises(Exhausted):
        roll_back(folder, "turn-2")
    assert disk.read_bytes().startswith(b"x" * 600_000)
    assert disk.stat().st_nlink == 1
    assert labels(folder) == ["turn-1", "turn-2"]
    assert not [path for path in folder.rglob(".*") if path.name != ".unchanged"]


def test_checkpoints_are_erased_with_the_disk(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    assert folder == folder_of(tmp_path, TENANT)
    make_checkpoint(folder, "turn-1")
    erase(tmp_path, TENANT)
    assert not folder.exists()


def test_a_start_takes_back_what_was_interrupted(tmp_path: Path) -> None:
    folder = tenant_folder(tmp_path, "one")
    record = Record(generation=1, image="x")
    write_record(folder, record)
    checkpoint = make_checkpoint(folder, "turn-1")
    os.link(folder / "disk.raw", checkpoint.path.with_name(".rolling-back-to-000001.raw"))
    disk = prepare_disk(folder, tmp_path / "formatted", record)
    assert disk.stat().st_nlink == 1
    assert contents(folder) == {"disk": "one", "turn-1": "one"}
