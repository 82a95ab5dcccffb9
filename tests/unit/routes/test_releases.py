"""Releases on a real disk: what is kept, what is refused, and that nothing is left of what was refused."""

import asyncio
import os
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.tars import Tree, stream, tar_of, tar_of_one

from subclaw.core.errors import Corrupt, Invalid, NotFound, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.routes.incoming import ReleaseLimits
from subclaw.routes.releases import RELEASES_KEPT, Release, Releases

ANN, BOB = TenantId(1), TenantId(2)
INDEX = {"index.html": b"<h1>hello</h1>"}


def keep(releases: Releases, content: bytes, tenant_id: TenantId = ANN, *, chunk_bytes: int = 65_536) -> Release:
    return asyncio.run(releases.keep(tenant_id, stream(content, chunk_bytes=chunk_bytes)))


def keep_tree(releases: Releases, tree: Tree, tenant_id: TenantId = ANN) -> Release:
    return keep(releases, tar_of(tree), tenant_id)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_nothing_left(folder: Path) -> None:
    assert [path for path in folder.rglob("*") if path.name not in (".incoming", "1")] == []


def test_a_folder_is_kept_whole(tmp_path: Path) -> None:
    tree = {**INDEX, "css/style.css": b"body{}", "a/b/c/ü.bin": b"\0" * 5000, "empty": b""}
    kept = keep_tree(Releases(tmp_path), tree)
    assert files_of(tmp_path / "1" / kept.release) == tree
    assert (kept.files, kept.size_bytes, kept.hidden) == (4, 14 + 6 + 5000, 0)


def test_all_that_a_tenant_published_is_erased_and_counted(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    keep_tree(releases, {**INDEX, "a/b": b"x"})
    kept = keep_tree(releases, INDEX, BOB)
    assert asyncio.run(releases.erase(ANN)) == 2
    assert not (tmp_path / str(ANN)).exists()
    assert (tmp_path / str(BOB) / kept.release).is_dir()
    assert asyncio.run(releases.erase(ANN)) == 0


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_the_same_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        kept = keep_tree(Releases(tmp_path), {**INDEX, "a/b": b"x"})
    finally:
        os.umask(before)
    for path in (tmp_path / "1").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    assert stat.S_IMODE((tmp_path / "1" / kept.release).stat().st_mode) == 0o755


def test_the_same_content_is_the_same_release_in_any_order_and_format(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    tree = {**INDEX, "a": b"1", "b/c": b"2"}
    first = keep_tree(releases, tree)
    again = keep(releases, tar_of(dict(reversed(tree.items())), style=tarfile.GNU_FORMAT, prefix=""), chunk_bytes=77)
    other = keep_tree(releases, {**tree, "a": b"3"})
    assert again == first
    assert other.release != first.release
    assert len([folder for folder in (tmp_path / "1").iterdir() if folder.is_dir()]) == 2


def test_names_are_part_of_the_digest(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    assert keep_tree(releases, {**INDEX, "a": b"1"}).release != keep_tree(releases, {**INDEX, "b": b"1"}).release


def test_equal_content_has_an_equal_time_and_new_content_another(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    times = []
    for content in (b"one", b"two", b"one"):
        kept = keep_tree(releases, {**INDEX, "x": content, "y": os.urandom(8)})
        times.append((tmp_path / "1" / kept.release / "x").stat().st_mtime)
    assert times[0] == times[2] != times[1]


def test_hidden_files_are_left_out_and_well_known_ones_are_not(tmp_path: Path) -> None:
    hidden = {".env": b"KEY=1", ".git/config": b"x", "a/.DS_Store": b"x", ".well-known/.secret": b"x"}
    kept = keep_tree(Releases(tmp_path), {**INDEX, **hidden, ".well-known/security.txt": b"y"})
    assert files_of(tmp_path / "1" / kept.release) == {**INDEX, ".well-known/security.txt": b"y"}
    assert kept.hidden == 4


def test_no_index_is_told_in_words_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="I found no index"):
        keep_tree(Releases(tmp_path), {"site/index.html": b"x", "INDEX.HTML": b"x"})
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        tar_of_one("link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        tar_of_one("hard", kind=tarfile.LNKTYPE, link="index.html"),
        tar_of_one("device", kind=tarfile.CHRTYPE),
        tar_of_one("../outside", content=b"x"),
        tar_of_one("/tmp/outside", content=b"x"),
        tar_of_one("index.html", content=b"twice"),
        tar_of_one("index.html/below", content=b"x"),
        tar_of(INDEX)[:900],
        b"not a tar at all" * 100,
        b"",
    ],
    ids=["symlink", "hardlink", "device", "up", "absolute", "twice", "below a file", "cut", "no tar", "nothing"],
)
def test_what_is_refused_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "releases"
    with pytest.raises(Invalid):
        keep(Releases(folder), content)
    assert_nothing_left(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ReleaseLimits(files=3), "more than 3 files"),
        (ReleaseLimits(size_bytes=2**20), "larger than 1 MiB"),
        (ReleaseLimits(file_bytes=2**20), "file is larger than 1 MiB"),
        (ReleaseLimits(entries=3), "more than 3 files and folders"),
        (ReleaseLimits(stream_bytes=2**20), "larger than 64 MiB"),
    ],
)
def test_limits_are_told_in_words_and_leave_nothing(tmp_path: Path, limits: ReleaseLimits, words: str) -> None:
    tree = {**INDEX, "a": b"", "b": b"", "c": b"x" * (2**20 + 1)}
    with pytest.raises(Invalid, match=words):
        keep_tree(Releases(tmp_path, limits=limits), tree)
    assert_nothing_left(tmp_path)


def test_a_size_that_is_only_claimed_is_refused_before_it_is_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("huge")
    header.size = 2**40
    with pytest.raises(Invalid, match="larger than 32 MiB"):
        keep(Releases(tmp_path), header.tobuf(tarfile.PAX_FORMAT))
    assert_nothing_left(tmp_path)


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield tar_of(INDEX)[:600]
        raise Unavailable("The machine stopped.")

    with pytest.raises(Unavailable, match="machine stopped"):
        asyncio.run(Releases(tmp_path).keep(ANN, broken()))
    assert_nothing_left(tmp_path)


def test_a_stream_that_stands_still_ends_in_words_and_is_closed(tmp_path: Path) -> None:
    closed = []

    async def slow() -> AsyncIterator[bytes]:
        try:
            yield tar_of(INDEX)[:600]
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    with pytest.raises(Unavailable, match="too long"):
        asyncio.run(Releases(tmp_path, timeout_s=0.05).keep(ANN, slow()))
    assert closed == [True]
    assert_nothing_left(tmp_path)


def test_many_at_once_keep_apart(tmp_path: Path) -> None:
    releases = Releases(tmp_path)

    async def scenario() -> list[Release]:
        tars = [tar_of({**INDEX, "n": bytes([n % 3])}) for n in range(12)]
        return await asyncio.gather(*(releases.keep(ANN if n % 2 else BOB, stream(tar)) for n, tar in enumerate(tars)))

    kept = asyncio.run(scenario())
    assert len({release.release for release in kept}) == 3
    for n, release in enumerate(kept):
        folder = tmp_path / str(ANN if n % 2 else BOB) / release.release
        assert files_of(folder) == {**INDEX, "n": bytes([n % 3])}
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_a_switch_is_a_link_and_goes_back_and_forth(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    first, second = (keep_tree(releases, {"index.html": content}) for content in (b"1", b"2"))
    for release, content in ((first, b"1"), (second, b"2"), (first, b"1")):
        folder = asyncio.run(releases.switch(ANN, release.release))
        assert (folder / "index.html").read_bytes() == content
        assert folder == tmp_path / "1" / "current"


def test_only_a_release_of_the_tenant_itself_can_be_switched_to(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    kept = keep_tree(releases, INDEX)
    with pytest.raises(NotFound):
        asyncio.run(releases.switch(BOB, kept.release))
    for name in ("../1/" + kept.release, "current", "", kept.release.upper() + "x"):
        with pytest.raises(Corrupt):
            asyncio.run(releases.switch(ANN, name))


def test_old_releases_go_and_the_one_in_use_stays(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    used = keep_tree(releases, {"index.html": b"used"})
    asyncio.run(releases.switch(ANN, used.release))
    for n in range(RELEASES_KEPT + 3):
        newest = keep_tree(releases, {"index.html": b"%d" % n})
    kept = {folder.name for folder in (tmp_path / "1").iterdir() if not folder.is_symlink()}
    assert {used.release, newest.release} <= kept
    assert len(kept) == RELEASES_KEPT + 1
    assert (tmp_path / "1" / "current" / "index.html").read_bytes() == b"used"


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    abandoned, recent = tmp_path / ".incoming" / "old", tmp_path / ".incoming" / "new"
    for folder in (abandoned, recent):
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"x")
    os.utime(abandoned, (1, 1))
    keep_tree(Releases(tmp_path), INDEX)
    assert not abandoned.exists()
    assert recent.exists()
