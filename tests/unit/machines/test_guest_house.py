"""What the agent finds in a house, whatever the tenant has put there, and what it puts into one."""

import asyncio
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from subclaw_guest import house as module
from subclaw_guest import lane
from subclaw_guest.house import LOOKED_AT, Limits, Problem, look, put, record
from subclaw_guest.lane import Lane
from subclaw_guest.refusals import Reason, Refused

LIMITS = Limits(files=20, file_bytes=1_000, house_bytes=5_000, path_characters=200, depth=3)

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
input()
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "TICK_NS", 0)
    folder = tmp_path / "house"
    folder.mkdir()
    return folder


def listed(house: Path, known: str = "") -> dict[str, bytes | str]:
    """Return what is found, by path: its content, or the problem with it."""
    _, content = look(known, LIMITS, str(house))
    files: dict[str, bytes | str] = {}
    while content:
        line, _, content = content.partition(b"\n")
        path, size, problem = json.loads(line)
        files[path], content = (content[:size], content[size:]) if size >= 0 else (problem, content)
    return files


def write(path: Path, content: bytes) -> Path:
    """Write a file, making its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_files_are_found_as_deep_as_they_count_and_hidden_ones_are_not(house: Path) -> None:
    for path in ("system.md", "skills/a.md", "skills/b/SKILL.md", "skills/b/data/table.md", ".x", "skills/.b.md.1"):
        write(house / path, path.encode())
    assert listed(house) == {path: path.encode() for path in ("system.md", "skills/a.md", "skills/b/SKILL.md")}


def test_same_signature_as_long_as_nothing_changes(house: Path) -> None:
    write(house / "memory.md", b"one")
    link = house / "system.md"
    link.symlink_to(house.parent / "target")
    write(house.parent / "target", b"one")
    signature, _ = look("", LIMITS, str(house))
    assert look(signature, LIMITS, str(house)) == (signature, b"")
    changes: list[Callable[[], object]] = [
        lambda: write(house / "memory.md", b"two"),
        lambda: write(house.parent / "target", b"two"),
        lambda: link.unlink(),
        lambda: write(house / "skills" / "new.md", b""),
    ]
    for change in changes:
        change()
        changed, content = look(signature, LIMITS, str(house))
        assert changed != signature
        assert content
        signature = changed


def test_what_has_just_changed_is_read_again(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_NS", 3_600 * 10**9)
    write(house / "memory.md", b"one")
    signature, _ = look("", LIMITS, str(house))
    assert listed(house, signature) == {"memory.md": b"one"}


def test_what_cannot_be_used_is_listed_with_its_problem(house: Path) -> None:
    write(house / "system.md" / "inner.md", b"")
    os.mkfifo(house / "memory.md")
    (house / "tools.json").symlink_to("tools.json")
    (house / "skills").mkdir()
    (house / "skills" / "folder").symlink_to(house)
    (house / "skills" / "null.md").symlink_to("/dev/null")
    (house / "skills" / "nowhere.md").symlink_to("nowhere")
    (house / "skills" / "file.md").symlink_to(write(house.parent / "elsewhere", b"followed"))
    write(house / "skills" / "large.md", bytes(LIMITS.file_bytes + 1))
    write(house / "skills" / "line\nbreak.md", b"")
    Path(os.fsdecode(bytes(house / "skills") + b"/caf\xe9.md")).write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(house / "socket"))
        assert listed(house) == {
            "system.md": Problem.IS_FOLDER,
            "memory.md": Problem.NOT_REGULAR,
            "tools.json": Problem.BAD_LINK,
            "skills/folder": Problem.IS_FOLDER,
            "skills/null.md": Problem.NOT_REGULAR,
            "skills/nowhere.md": Problem.BAD_LINK,
            "skills/file.md": b"followed",
            "skills/large.md": Problem.TOO_LARGE,
            "skills/line\\nbreak.md": Problem.BAD_NAME,
            "skills/caf\\udce9.md": Problem.BAD_NAME,
            "socket": Problem.NOT_REGULAR,
        }


def test_file_that_says_it_is_empty_and_is_not_is_bounded(house: Path) -> None:
    (house / "memory.md").symlink_to("/proc/kallsyms")
    assert listed(house) == {"memory.md": Problem.TOO_LARGE}


def test_file_that_somebody_else_holds_is_not_waited_for(house: Path) -> None:
    path = write(house / "memory.md", b"held")
    command = ["python3", "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert listed(house) == {"memory.md": Problem.UNREADABLE}
        holder.kill()


def test_house_that_is_too_large_has_what_matters_most(house: Path) -> None:
    for number in range(5):
        write(house / "skills" / f"{number}.md", bytes(1_000))
    write(house / "memory.md", bytes(1_000))
    found = listed(house)
    assert found["memory.md"] == bytes(1_000)
    assert [found[f"skills/{number}.md"] for number in range(5)] == [*[bytes(1_000)] * 4, Problem.TOO_MUCH]


def test_thousands_of_files_do_not_hide_those_that_matter_most(house: Path) -> None:
    for number in range(2 * LOOKED_AT):
        write(house / f"{number}", b"")
    write(house / "skills" / "last.md", b"skill")
    write(house / "system.md", b"system")
    found = listed(house)
    assert len(found) == LIMITS.files
    assert (found["system.md"], found["skills/last.md"]) == (b"system", b"skill")
    assert [problem for problem in found.values() if isinstance(problem, str)] == [Problem.TOO_MANY]


def test_no_folder_is_told(house: Path) -> None:
    with pytest.raises(FileNotFoundError):
        look("", LIMITS, str(house / "gone"))
    with pytest.raises(NotADirectoryError):
        look("", LIMITS, str(write(house / "file", b"")))


def test_files_are_put_and_removed_and_what_is_in_the_way_is_told(house: Path) -> None:
    write(house / "memory.md", b"old")
    write(house / "system.md" / "inner", b"")
    (house / "tools.json").symlink_to(write(house.parent / "elsewhere", b"old"))
    files: list[tuple[str, bytes | None]] = [
        ("skills/a/SKILL.md", b"new\n[]\n"),
        ("system.md", b"new"),
        ("memory.md", None),
        ("nowhere/gone.md", None),
        ("system.md", None),
        ("tools.json", b"[]"),
        ("tools.json/below.md", b""),
    ]
    refused = dict(put(b"".join(record(*file) for file in files), str(house)))
    assert (house / "skills" / "a" / "SKILL.md").read_bytes() == b"new\n[]\n"
    assert not (house / "memory.md").exists()
    assert (house.parent / "elsewhere").read_bytes() == b"[]"
    assert refused.keys() == {1, 4, 6}
    assert (refused[1], refused[4]) == (Reason.IS_FOLDER, Reason.IS_FOLDER)
    assert (house / "system.md" / "inner").exists()


@pytest.mark.parametrize("content", [b"x", b"[]\n", b'["a", 5, ""]\nabc', b'["a", -2, ""]\n["b", "c", ""]\n'])
def test_what_is_no_record_is_refused(house: Path, content: bytes) -> None:
    with pytest.raises((Refused, ValueError, TypeError)):
        put(content, str(house))


def test_what_hangs_holds_nothing_up_and_is_not_joined_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "TIME_LIMIT_S", 0.01)

    async def scenario() -> None:
        own, let_go = Lane(), threading.Event()
        for _ in range(2):
            with pytest.raises(Refused) as caught:
                await own.run(let_go.wait)
            assert caught.value.reason is Reason.BUSY
        let_go.set()
        while True:
            try:
                assert await own.run(lambda: "back") == "back"
                break
            except Refused:
                await asyncio.sleep(0)

    asyncio.run(scenario())
