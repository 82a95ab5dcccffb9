"""A disk that is really full: a small file system of its own, which needs root to mount."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tars import stream, tar_of

from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.routes.releases import Releases

ANN = TenantId(1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=200", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    "tree",
    [{"big": b"x" * 2_000_000}, {f"f{n}": b"" for n in range(300)}, {"index.html": b"x" * (2**20)}],
    ids=["no room", "no inodes", "no room at the end"],
)
def test_a_full_disk_is_told_in_words_and_nothing_is_left(small_disk: Path, tree: dict[str, bytes]) -> None:
    releases = Releases(small_disk)

    async def scenario() -> None:
        first = await releases.keep(ANN, stream(tar_of({"index.html": b"first"})))
        folder = await releases.switch(ANN, first.release)
        with pytest.raises(Unavailable, match="disk is full"):
            await releases.keep(ANN, stream(tar_of({"index.html": b"second", **tree})))
        assert list((small_disk / ".incoming").iterdir()) == []
        # What was there is served as before, and what fits can be published.
        assert (folder / "index.html").read_bytes() == b"first"
        third = await releases.keep(ANN, stream(tar_of({"index.html": b"third"})))
        assert (await releases.switch(ANN, third.release) / "index.html").read_bytes() == b"third"

    asyncio.run(scenario())
