"""The digest of the sources, and who can read them."""

import os
import stat
from pathlib import Path

import pytest

from subclaw.setup.checkout import digest_of, is_readable_by_all, source_files, sources_digest


def test_the_digest_is_of_names_and_contents_in_any_order() -> None:
    assert digest_of([("a", b"1"), ("b", b"2")]) == digest_of([("b", b"2"), ("a", b"1")])
    assert len({digest_of(files) for files in ([("a", b"1b")], [("a1", b"b")], [("a", b"1"), ("b", b"")], [])}) == 4


def test_what_builds_and_runs_leave_is_no_source(tmp_path: Path) -> None:
    for name in ("src/subclaw/a.py", "src/subclaw/__pycache__/a.pyc", "src/subclaw.egg-info/SOURCES", "tests/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "pyproject.toml").write_text("x")
    names = {str(path.relative_to(tmp_path)) for path in source_files(tmp_path)}
    assert names == {"src/subclaw/a.py", "pyproject.toml"}
    before = sources_digest(tmp_path)
    (tmp_path / "src/subclaw/c.sql").write_text("")
    assert sources_digest(tmp_path) != before


@pytest.mark.parametrize(
    ("modes", "readable"),
    [
        ([stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755], True),
        ([stat.S_IFREG | 0o600], False),
        ([stat.S_IFDIR | 0o744], False),
        ([stat.S_IFDIR | 0o700], False),
        ([stat.S_IFREG | 0o640, stat.S_IFREG | 0o644], False),
    ],
)
def test_everybody_must_read_files_and_enter_folders(modes: list[int], readable: bool) -> None:
    assert is_readable_by_all(modes) is readable


def test_modes_of_real_files_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("")
    file.chmod(0o644)
    assert is_readable_by_all([os.stat(file).st_mode])
