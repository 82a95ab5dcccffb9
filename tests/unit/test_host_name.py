"""A host's name is chosen once, and never anew."""

from pathlib import Path

import pytest

from subclaw.core.errors import Corrupt, Unavailable
from subclaw.home import Home
from subclaw.host_name import host_name


def test_a_name_is_kept_and_each_folder_has_its_own(tmp_path: Path) -> None:
    homes = [Home(tmp_path / "one"), Home(tmp_path / "other")]
    for home in homes:
        home.path.mkdir()
    names = [host_name(home) for home in homes]
    assert names == [host_name(home) for home in homes]
    assert len(set(names)) == 2
    assert [path.name for path in homes[0].path.iterdir()] == ["host-name"]


@pytest.mark.parametrize("content", [b"", b"host-", b"host-0123456\n", b"\xff\xfe"])
def test_a_broken_file_is_no_reason_for_a_new_name(tmp_path: Path, content: bytes) -> None:
    home = Home(tmp_path)
    home.host_name_file.write_bytes(content)
    with pytest.raises(Corrupt, match="host-name"):
        host_name(home)
    assert home.host_name_file.read_bytes() == content


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="host-name"):
        host_name(Home(tmp_path / "none"))
