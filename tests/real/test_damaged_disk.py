"""What e2fsck says of a tenant's disk that was let go in the middle of its work, and of one that is damaged."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.real.damage import damage

from subclaw.machines.disks.copies import copy_sparse
from subclaw.machines.disks.disk import formatted_disk

FILES = {f"folder-{number}/file": bytes([number]) * 50_000 for number in range(20)}


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """Mount a disk as a machine does. Raises `CalledProcessError` if it cannot be mounted."""
    folder = disk.with_name("mounted")
    folder.mkdir(exist_ok=True)
    options = "loop,noinit_itable,discard"
    subprocess.run(["mount", "-t", "ext4", "-o", options, str(disk), str(folder)], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def check(disk: Path, option: str) -> int:
    """Run e2fsck; return its exit status."""
    return subprocess.run(["e2fsck", option, str(disk)], capture_output=True).returncode


def files_on(disk: Path) -> dict[str, bytes]:
    with mounted(disk) as folder:
        return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a disk with files, whose machine stopped in the middle of its work: the journal is not empty."""
    used, disk = tmp_path / "used.raw", tmp_path / "disk.raw"
    copy_sparse(formatted_disk(tmp_path / "cache"), used)
    with mounted(used) as folder:
        for name, content in FILES.items():
            (folder / name).parent.mkdir()
            (folder / name).write_bytes(content)
        subprocess.run(["sync", "-f", str(folder)], check=True)
        copy_sparse(used, disk)
    return disk


def test_a_crash_needs_no_repair(disk: Path) -> None:
    assert check(disk, "-p") == 0
    assert check(disk, "-p") == 0
    assert files_on(disk) == FILES


def test_a_disk_after_a_crash_is_mounted_as_it_is(disk: Path) -> None:
    assert files_on(disk) == FILES


@pytest.mark.parametrize("clean", [False, True], ids=["after a crash", "unmounted"])
def test_a_damaged_disk_is_not_mounted_and_is_mended_with_its_files(disk: Path, clean: bool) -> None:
    if clean:
        assert check(disk, "-p") == 0
    damage(disk)
    with pytest.raises(subprocess.CalledProcessError):
        files_on(disk)
    assert check(disk, "-p") == 4
    assert check(disk, "-y") == 1
    assert check(disk, "-p") == 0
    assert files_on(disk) == FILES
