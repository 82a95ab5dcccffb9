"""Tenants' disks and their records."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from subclaw.core.errors import Corrupt
from subclaw.core.tenant import TenantId
from subclaw.machines.disk import DISK_BYTES, copy_sparse, erase, folder_of, formatted_disk, start_generation

TENANT = TenantId(5)


def test_each_start_is_counted_and_the_disk_kept(tmp_path: Path) -> None:
    formatted = formatted_disk(tmp_path / "cache")
    disk, record = start_generation(tmp_path, TENANT, formatted, "image-1")
    assert (record.generation, record.image) == (1, "image-1")
    assert disk.stat().st_size == DISK_BYTES
    assert disk.stat().st_blocks * 512 < 1_000_000
    assert disk.stat().st_mode & 0o777 == 0o600
    with disk.open("r+b") as file:
        file.write(b"mine")
    disk, record = start_generation(tmp_path, TENANT, formatted, "image-2")
    assert (record.generation, record.image) == (2, "image-2")
    with disk.open("rb") as file:
        assert file.read(4) == b"mine"
    erase(tmp_path, TENANT)
    erase(tmp_path, TENANT)
    assert start_generation(tmp_path, TENANT, formatted, "image-2")[1].generation == 1


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        "null",
        '{"version": 2, "generation": 1, "image": "x"}',
        '{"version": 1, "generation": 0, "image": "x"}',
        '{"version": 1, "generation": "1", "image": "x"}',
        '{"version": 1, "generation": true, "image": "x"}',
        '{"version": 1, "generation": 1, "image": 1}',
        '{"version": 1, "generation": 1}',
        '{"version": 1, "generation": 1, "image": "x", "more": 1}',
    ],
)
def test_broken_record(tmp_path: Path, record: str) -> None:
    folder = folder_of(tmp_path, TENANT)
    folder.mkdir(parents=True)
    (folder / "machine.json").write_text(record, "utf-8")
    with pytest.raises(Corrupt):
        start_generation(tmp_path, TENANT, tmp_path / "formatted", "x")


def test_record_without_its_disk_is_no_fresh_start(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, TENANT)
    folder.mkdir(parents=True)
    (folder / "machine.json").write_text(json.dumps({"version": 1, "generation": 3, "image": "x"}), "utf-8")
    with pytest.raises(Corrupt, match="no disk"):
        start_generation(tmp_path, TENANT, tmp_path / "formatted", "x")


def test_copy_keeps_holes_and_data(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        os.truncate(file.fileno(), 50_000_000)
        for place in (0, 1_000_003, 49_999_990):
            file.seek(place)
            file.write(b"0123456789")
    copy_sparse(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < 100_000


def test_copy_crosses_from_one_file_system_to_another() -> None:
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as on_disk,
        tempfile.TemporaryDirectory(dir="/dev/shm") as in_memory,
    ):
        source, target = Path(on_disk, "source"), Path(in_memory, "target")
        assert source.parent.stat().st_dev != target.parent.stat().st_dev
        source.write_bytes(bytes(range(256)) * 10_000)
        copy_sparse(source, target)
        assert target.read_bytes() == source.read_bytes()
