"""Ending what an earlier host left running, and nothing else."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from subclaw.machines.qemu.processes import command_line, end_orphans, name_prefix, process_name, record_process

NAME = "subclaw-0-1-1"


@contextlib.contextmanager
def sleeper(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that has a name among its arguments."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "-name", name])
    try:
        while name not in command_line(process.pid):  # it is there a moment after the program was started
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "1"
    folder.mkdir()
    return folder


def test_recorded_process_is_ended(tmp_path: Path, folder: Path) -> None:
    with sleeper(NAME) as process:
        record_process(folder, NAME, process.pid)
        assert end_orphans(tmp_path) == 1
        assert process.wait(0) == -9
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("change", [{"started": 1}, {"name": "other"}, {"name": NAME[:-1]}, {"extra": 1}])
def test_process_that_is_not_the_one_on_record_is_left(tmp_path: Path, folder: Path, change: dict[str, object]) -> None:
    with sleeper(NAME) as process:
        record_process(folder, NAME, process.pid)
        path = folder / "qemu.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
        assert end_orphans(tmp_path) == 0
        assert process.poll() is None


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"process_id": 0, "started": 1, "name": "x"}'])
def test_broken_records_are_cleared(tmp_path: Path, folder: Path, content: str) -> None:
    (folder / "qemu.json").write_text(content, "utf-8")
    assert end_orphans(tmp_path) == 0
    assert list(folder.iterdir()) == []


def test_names_tell_hosts_apart(tmp_path: Path) -> None:
    name = process_name(tmp_path / "a", 2, 1)
    assert name.startswith(name_prefix(tmp_path / "a"))
    assert not name.startswith(name_prefix(tmp_path / "b"))
