"""The root folder of jails, which other users than its maker live in."""

import os
from pathlib import Path

from subclaw.machines.qemu.jail import make_root


def test_a_root_is_for_all_users_whatever_the_umask_of_its_maker(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        make_root(tmp_path / "jails" / "one", [Path("/usr/bin/env")])
    finally:
        os.umask(mask)
    found = [tmp_path / "jails" / "one", *(tmp_path / "jails" / "one").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o755}
    assert (tmp_path / "jails" / "one" / "usr" / "bin" / "env").stat().st_mode & 0o777 == 0o555
