"""Copies of sparse files, on each kind of file system there is."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from subclaw.machines.disks.copies import copy_sparse

PLACES = (0, 1_000_003, 49_999_990)


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a file system whose files can share blocks."""
    image, folder = tmp_path / "xfs.raw", tmp_path / "xfs"
    image.touch()
    os.truncate(image, 400_000_000)
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def sparse_file(path: Path) -> Path:
    with path.open("wb") as file:
        os.truncate(file.fileno(), 50_000_000)
        for place in PLACES:
            file.seek(place)
            file.write(b"0123456789")
    return path


def test_copy_keeps_holes_and_data(tmp_path: Path) -> None:
    source = sparse_file(tmp_path / "source")
    copy_sparse(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < 100_000
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_copy_of_an_empty_file_and_of_a_hole(tmp_path: Path) -> None:
    for size_bytes in (0, 10_000_000):
        (tmp_path / "source").touch()
        os.truncate(tmp_path / "source", size_bytes)
        copy_sparse(tmp_path / "source", tmp_path / "copy")
        assert (tmp_path / "copy").stat().st_size == size_bytes
        assert (tmp_path / "copy").stat().st_blocks == 0


def test_copy_crosses_from_one_file_system_to_another() -> None:
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as on_disk,
        tempfile.TemporaryDirectory(dir="/dev/shm") as in_memory,
    ):
        source, target = sparse_file(Path(on_disk, "source")), Path(in_memory, "target")
        assert source.parent.stat().st_dev != target.parent.stat().st_dev
        copy_sparse(source, target)
        assert target.read_bytes() == source.read_bytes()
        copy_sparse(target, source)
        assert target.read_bytes() == source.read_bytes()
        assert source.stat().st_blocks * 512 < 100_000


def test_copy_shares_blocks_where_that_can_be_done(xfs: Path) -> None:
    source, target = xfs / "source", xfs / "target"
    source.write_bytes(b"x" * 100_000_000)
    for _ in range(5):  # there is room for three that share nothing
        copy_sparse(source, target)
        target = target.with_name(target.name + "t")
    with target.with_name("target").open("r+b") as file:
        file.write(b"mine")
    assert source.read_bytes() == b"x" * 100_000_000
    assert (xfs / "target").read_bytes() == b"mine" + b"x" * 99_999_996


def test_a_copy_that_fails_leaves_nothing_and_what_was_there_before(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")
    with pytest.raises(OSError, match="No such file"):
        copy_sparse(tmp_path / "source", target)
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        copy_sparse(target, folder)
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "target"]
