"""The key on disk: who can read it, and when it is there."""

import os
import stat
from pathlib import Path

import pytest

from subclaw.console.access import hash_key, is_key
from subclaw.console.keyfile import fresh_key, read_key, read_key_hash
from subclaw.core.errors import Unavailable


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_the_key_is_for_root_and_its_hash_for_the_group_while_the_box_runs(tmp_path: Path) -> None:
    key_file, hash_file = tmp_path / "key", tmp_path / "key.sha256"
    with fresh_key(key_file, hash_file, os.getegid()) as key:
        assert read_key(key_file) == key
        assert read_key_hash(hash_file) == hash_key(key)
        assert (mode(key_file), mode(hash_file)) == (0o600, 0o640)
        assert key not in hash_file.read_text()
    assert list(tmp_path.iterdir()) == []


def test_each_start_makes_a_key_whatever_an_earlier_one_left(tmp_path: Path) -> None:
    key_file, hash_file = tmp_path / "key", tmp_path / "key.sha256"
    for name in ("key", "key.new", "key.sha256.new"):
        (tmp_path / name).write_text("left")
    with fresh_key(key_file, hash_file, os.getegid()) as first:
        assert is_key(first, read_key_hash(hash_file))
        with fresh_key(key_file, hash_file, os.getegid()) as second:
            assert first != second
            assert not is_key(first, read_key_hash(hash_file))


def test_without_a_box_there_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="subclaw up"):
        read_key(tmp_path / "key")
    with pytest.raises(Unavailable):
        read_key_hash(tmp_path / "key.sha256")
    (tmp_path / "key.sha256").write_text("no hash")
    with pytest.raises(Unavailable):
        read_key_hash(tmp_path / "key.sha256")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be written"), fresh_key(tmp_path / "a/b", tmp_path / "a/c", 0):
        pass
