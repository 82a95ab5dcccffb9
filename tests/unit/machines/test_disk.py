"""Tenants' disks: made once, grown, measured, erased; and what happens to them when a machine starts."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from subclaw.core.errors import Corrupt, Invalid
from subclaw.core.tenant import TenantId
from subclaw.machines.disks.disk import (
    DISK_BYTES,
    MOST_DISK_BYTES,
    erase,
    existing_disk,
    folder_of,
    formatted_disk,
    grow,
    make_disk,
    used_bytes,
)
from subclaw.machines.disks.record import Record
from subclaw.machines.starts import prepare_disk

TENANT = TenantId(5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_is_made_once_and_kept(tmp_path: Path) -> None:
    formatted, folder = formatted_disk(tmp_path / "cache"), folder_of(tmp_path, TENANT)
    disk = prepare_disk(folder, formatted, None)
    assert disk.stat().st_size == DISK_BYTES
    assert disk.stat().st_blocks * 512 < 1_000_000
    assert disk.stat().st_mode & 0o777 == 0o600
    with disk.open("r+b") as file:
        file.write(b"mine")
    assert prepare_disk(folder, formatted, Record(generation=1, image="x")) == disk
    with disk.open("rb") as file:
        assert file.read(4) == b"mine"
    erase(tmp_path, TENANT)
    erase(tmp_path, TENANT)
    assert not folder.exists()


def test_record_without_its_disk_is_no_fresh_start(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, TENANT)
    folder.mkdir(parents=True)
    with pytest.raises(Corrupt, match="no disk"):
        prepare_disk(folder, tmp_path / "formatted", Record(generation=3, image="x"))
    with pytest.raises(Corrupt, match="no disk"):
        existing_disk(folder)


def test_disk_without_a_record_is_kept(tmp_path: Path) -> None:
    formatted = tmp_path / "formatted"
    formatted.write_bytes(b"empty")
    disk = make_disk(tmp_path / "tenant", formatted)
    disk.write_bytes(b"mine!")
    assert make_disk(tmp_path / "tenant", formatted).read_bytes() == b"mine!"


def test_no_room_for_a_new_disk(tmp_path: Path, small_disk: Path) -> None:
    formatted = tmp_path / "formatted"
    formatted.write_bytes(b"x" * 2_000_000)
    with pytest.raises(OSError, match="No space"):
        prepare_disk(folder_of(small_disk, TENANT), formatted, None)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_disk_grows_and_stays_sparse(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * 4096)
    for size_bytes in (4096, 8192, MOST_DISK_BYTES, MOST_DISK_BYTES):
        grow(disk, size_bytes)
        assert disk.stat().st_size == size_bytes
    assert disk.stat().st_blocks * 512 == 4096
    with disk.open("rb") as file:
        assert file.read(4097) == b"x" * 4096 + b"\0"


@pytest.mark.parametrize("size_bytes", [-4096, 0, 4096, 8193, MOST_DISK_BYTES + 4096])
def test_disk_does_not_become_smaller_or_too_large(tmp_path: Path, size_bytes: int) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * 8192)
    with pytest.raises(Invalid, match=str(size_bytes)):
        grow(disk, size_bytes)
    assert disk.read_bytes() == b"x" * 8192


def test_used_bytes_are_those_that_are_taken_up(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    assert used_bytes(folder) == 0
    (folder / "inside").mkdir(parents=True)
    for path in (folder / "disk", folder / "inside" / "copy"):
        path.write_bytes(b"x" * 8192)
        os.truncate(path, 1_000_000)
    assert used_bytes(folder) == 16_384
    os.link(folder / "disk", folder / "inside" / "again")
    assert used_bytes(folder) == 16_384
