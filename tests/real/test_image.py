"""The golden image itself: a second build of the recipe gives the same bytes, and what is built stays as it is."""

import json
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.real.machines import ROOT, golden_image

from subclaw.machines.images.image import FILES, MANIFEST, Image, build_image
from subclaw.machines.images.store import list_images, prune_images


@contextmanager
def built_anew() -> Iterator[Image]:
    """Build the image of this checkout's recipe in a cache that does not have it, and leave nothing of it."""
    with tempfile.TemporaryDirectory() as cache:
        yield build_image(ROOT / "image", Path(cache), lambda progress: None)


def manifest_of(image: Image) -> dict[str, Any]:
    """Return what an image says of itself."""
    manifest: dict[str, Any] = json.loads((image.folder / MANIFEST).read_bytes())
    return manifest


def contents_of(image: Image) -> dict[str, Any]:
    """Return what an image was made of: the versions of all Debian packages."""
    return {name: value for name, value in manifest_of(image).items() if name != "files"}


@pytest.fixture(scope="module")
def built() -> Iterator[Image]:
    with built_anew() as image:
        yield image


def test_two_builds_give_the_same_bytes(built: Image) -> None:
    _, other = golden_image()
    assert not built.folder.samefile(other.folder)
    with ExitStack() as stack:
        if contents_of(other) != contents_of(built):
            # Debian published updates since the cache's image was built, so that one says nothing about this one.
            other = stack.enter_context(built_anew())
        assert manifest_of(built) == manifest_of(other)


def test_what_is_built_is_read_only(built: Image) -> None:
    assert stat.S_IMODE(built.folder.stat().st_mode) == 0o555
    assert {stat.S_IMODE((built.folder / name).stat().st_mode) for name in (*FILES, MANIFEST)} == {0o444}


def test_damage_is_found_and_what_is_damaged_can_be_pruned(built: Image, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    copy = Path(shutil.copytree(built.folder, cache / "images" / built.digest))
    (whole,) = list_images(cache, verify=True)
    assert not whole.is_broken
    with (copy / "golden.erofs").open("r+b") as file:
        file.seek(100_000_000)
        byte = file.read(1)
        file.seek(100_000_000)
        file.write(bytes([byte[0] ^ 1]))
    (damaged,) = list_images(cache, verify=True)
    assert damaged.is_broken
    (removed,) = prune_images(cache, tmp_path / "home")
    assert removed.size_bytes == whole.size_bytes
    assert list_images(cache) == []
