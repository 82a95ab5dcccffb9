"""Routes as folders: what is on disk for each route, whatever happens in between."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.route import Route
from subclaw.routes.folders import FolderRoutes

FILES = Path("/srv/files")


@pytest.fixture
def routes(tmp_path: Path) -> FolderRoutes:
    (tmp_path / "sites").mkdir()
    return FolderRoutes(tmp_path / "sites", doors=Path("/run/doors"))


def shown(folder: Path) -> dict[str, list[str]]:
    """Return what the router finds at each hostname; `open` if anybody is served its files."""
    sites = folder / "sites"
    opened = os.listdir(sites / ".open") if (sites / ".open").exists() else []
    return {
        name: sorted([*os.listdir(sites / name), *(["open"] if name in opened else [])])
        for name in os.listdir(sites)
        if not name.startswith(".")
    }


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"folder": FILES}, ["folder", "open"]),
        ({"folder": FILES, "is_paused": True}, ["folder", "paused"]),
        ({"folder": FILES, "is_private": True}, ["folder", "private"]),
        ({"door": "unix//run/doors/1-80.sock"}, ["1-80.sock"]),
        ({"folder": FILES, "door": "unix//run/doors/1-80.sock"}, ["1-80.sock", "folder"]),
        ({"is_paused": True}, ["paused"]),
    ],
)
def test_each_route_is_a_folder_of_its_own(
    routes: FolderRoutes, tmp_path: Path, more: dict[str, object], found: list[str]
) -> None:
    asyncio.run(routes.put(Route(hostname="ANN.localhost", **more)))  # type: ignore[arg-type]
    assert shown(tmp_path) == {"ann.localhost": found}


def test_the_same_again_changes_nothing_and_another_replaces_it_whole(routes: FolderRoutes, tmp_path: Path) -> None:
    async def scenario() -> None:
        link = tmp_path / "sites" / "ann.localhost"
        await routes.put(Route(hostname="ann.localhost", folder=FILES))
        first = os.readlink(link)
        await routes.put(Route(hostname="ann.localhost", folder=FILES))
        assert os.readlink(link) == first
        await routes.put(Route(hostname="ann.localhost", door="unix//run/doors/1-80.sock"))
        assert shown(tmp_path) == {"ann.localhost": ["1-80.sock"]}
        assert len(os.listdir(tmp_path / "sites" / ".kept")) == 1

    asyncio.run(scenario())


def test_what_a_killed_process_left_is_mended(routes: FolderRoutes, tmp_path: Path) -> None:
    async def scenario() -> None:
        await routes.put(Route(hostname="ann.localhost", folder=FILES))
        kept = tmp_path / "sites" / ".kept"
        (kept / "half").mkdir()
        (kept / "half.link").symlink_to(".kept/half")
        long_ago_s = time.time() - 7200
        os.utime(kept / "half", (long_ago_s, long_ago_s))
        os.utime(kept / "half.link", (long_ago_s, long_ago_s), follow_symlinks=False)
        (tmp_path / "sites" / "lost.localhost").symlink_to(".kept/gone")
        (tmp_path / "sites" / ".open" / "over.localhost").symlink_to(FILES)
        await routes.replace_all(
            [Route(hostname="ann.localhost", folder=FILES), Route(hostname="lost.localhost", folder=FILES)], "3"
        )
        assert shown(tmp_path) == {"ann.localhost": ["folder", "open"], "lost.localhost": ["folder", "open"]}
        assert sorted(os.listdir(tmp_path / "sites" / ".open")) == ["ann.localhost", "lost.localhost"]
        assert len(os.listdir(kept)) == 2
        assert await routes.mark() == "3"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "door", ["", "unix", "/run/doors/1.sock", "unix//run/1.sock", "unix//run/doors/x/1.sock", "unix//run/doors/1"]
)
def test_an_address_that_is_no_door_is_refused(routes: FolderRoutes, door: str) -> None:
    with pytest.raises(Invalid):
        asyncio.run(routes.put(Route(hostname="ann.localhost" if door else "..", door=door)))


def test_a_disk_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    routes = FolderRoutes(tmp_path / "missing", doors=Path("/run/doors"))
    with pytest.raises(Unavailable) as failed:
        asyncio.run(routes.put(Route(hostname="ann.localhost", folder=FILES)))
    assert failed.value.public == "The server could not write to its disk."
