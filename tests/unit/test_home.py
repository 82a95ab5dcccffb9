"""The state folder is made where nothing else is."""

from pathlib import Path

import pytest

from subclaw.core.errors import Conflict
from subclaw.home import Home, prepare_home


def test_somebody_elses_folder_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir(mode=0o700)
    (folder / "cat.jpg").touch()
    with pytest.raises(Conflict, match="SUBCLAW_HOME"):
        prepare_home(Home(folder))
    assert [path.name for path in folder.iterdir()] == ["cat.jpg"]
    assert folder.stat().st_mode & 0o777 == 0o700
