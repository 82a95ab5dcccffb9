"""The images in a cache: listing and pruning."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.machines.images import MIDDLE, NEW, OLD, put_image, put_tenant

from subclaw.core.errors import Conflict, Corrupt, NotFound
from subclaw.machines.images.image import Progress, current_image, load_image, make_current, only_builder, using_image
from subclaw.machines.images.pins import register_home
from subclaw.machines.images.store import list_images, only_pruner, prune_images


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with three images, of which the newest is current."""
    cache = tmp_path / "cache"
    for age, digest in enumerate((NEW, MIDDLE, OLD)):
        folder = put_image(cache, digest)
        os.utime(folder, (1_700_000_000 - age, 1_700_000_000 - age))
    make_current(cache, load_image(cache, NEW))
    return cache


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without tenants."""
    home = tmp_path / "home"
    home.mkdir()
    return home


def images_in(cache: Path) -> list[str]:
    """Return what is in the folder of images, but the lock."""
    return sorted(path.name for path in (cache / "images").iterdir() if path.name != ".lock")


def put_template(cache: Path, name: str, manifest: str) -> Path:
    """Put a template into a cache."""
    folder = cache / "templates" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest, "utf-8")
    (folder / "memory").write_bytes(b"m")
    return folder


def remove_kernel(folder: Path) -> None:
    """Break an image: a file is missing."""
    (folder / "kernel").unlink()


def cut_golden(folder: Path) -> None:
    """Break an image: a file is too short."""
    (folder / "golden.erofs").write_bytes(b"")


def empty_manifest(folder: Path) -> None:
    """Break an image: it does not say what it is."""
    (folder / "manifest.json").write_bytes(b"")


def list_for_manifest(folder: Path) -> None:
    """Break an image: its manifest is something else."""
    (folder / "manifest.json").write_bytes(b"[]")


def test_list_tells_of_each_image(cache: Path) -> None:
    (cache / "images" / "notes").mkdir()
    newest, middle, oldest = list_images(cache)
    assert [image.digest for image in (newest, middle, oldest)] == [NEW, MIDDLE, OLD]
    assert (newest.is_current, middle.is_current, oldest.is_current) == (True, False, False)
    assert not any(image.is_broken for image in (newest, middle, oldest))
    assert newest.kernel == "6.1.0-1-cloud-amd64"
    assert newest.built_at.timestamp() == 1_700_000_000
    assert newest.size_bytes > 0


def test_empty_cache_has_none(tmp_path: Path) -> None:
    assert list_images(tmp_path) == []
    assert prune_images(tmp_path, tmp_path) == []


@pytest.mark.parametrize("damage", [remove_kernel, cut_golden, empty_manifest, list_for_manifest])
def test_broken_image_is_listed_as_such(cache: Path, damage: Callable[[Path], None]) -> None:
    damage(cache / "images" / MIDDLE)
    assert {image.digest: image.is_broken for image in list_images(cache)} == {NEW: False, MIDDLE: True, OLD: False}


def test_other_bytes_of_the_same_size_are_found_by_verifying(cache: Path) -> None:
    (cache / "images" / OLD / "kernel").write_bytes(b"KERNEL")
    assert not any(image.is_broken for image in list_images(cache))
    assert [image.digest for image in list_images(cache, verify=True) if image.is_broken] == [OLD]


def test_manifest_without_sums_is_broken_by_verifying(cache: Path) -> None:
    path = cache / "images" / OLD / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    del manifest["files"]["kernel"]["sha256"]
    path.write_text(json.dumps(manifest), "utf-8")
    assert [image.digest for image in list_images(cache, verify=True) if image.is_broken] == [OLD]


def test_prune_keeps_the_current_one_and_what_tenants_of_any_home_need(cache: Path, home: Path, tmp_path: Path) -> None:
    register_home(cache, home)
    register_home(cache, tmp_path / "other")
    put_tenant(tmp_path / "other", 1, OLD)
    (removed,) = prune_images(cache, home)
    assert removed.name == f"image {MIDDLE[:12]}"
    assert removed.size_bytes > 0
    assert images_in(cache) == [OLD, NEW, "current"]
    assert current_image(cache).digest == NEW
    assert prune_images(cache, home) == []


def test_home_that_is_gone_keeps_nothing(cache: Path, home: Path, tmp_path: Path) -> None:
    register_home(cache, tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    prune_images(cache, home)
    assert images_in(cache) == [NEW, "current"]
    assert list((cache / "homes").iterdir()) == []


def test_dry_run_changes_nothing(cache: Path, home: Path, tmp_path: Path) -> None:
    register_home(cache, tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (cache / "images" / ".building-x").mkdir()
    before = images_in(cache)
    assert len(prune_images(cache, home, dry_run=True)) == 3
    assert images_in(cache) == before
    assert len(list((cache / "homes").iterdir())) == 1


def test_record_that_cannot_be_read_keeps_everything(cache: Path, home: Path) -> None:
    folder = put_tenant(home, 7, OLD)
    (folder / "machine.json").write_text("{", "utf-8")
    (cache / "images" / ".building-x").mkdir()
    before = images_in(cache)
    with pytest.raises(Corrupt, match="machines/7") as caught:
        prune_images(cache, home)
    assert caught.value.public.startswith("Nothing is removed: ")
    assert images_in(cache) == before


def test_what_killed_builds_and_prunes_left_is_removed(cache: Path, home: Path) -> None:
    put_tenant(home, 1, MIDDLE)
    put_tenant(home, 2, OLD)
    for name in (".building-x/root", f".removing-{OLD}"):
        (cache / "images" / name).mkdir(parents=True)
    assert [item.name for item in prune_images(cache, home)] == ["what was left by a killed build"] * 2
    assert images_in(cache) == [OLD, MIDDLE, NEW, "current"]


def test_nothing_is_pruned_during_a_build(cache: Path, home: Path) -> None:
    with only_builder(cache / "images", lambda progress: None):
        (cache / "images" / ".building-x").mkdir()
        before = images_in(cache)
        with pytest.raises(Conflict, match="images"):
            prune_images(cache, home)
        assert images_in(cache) == before
    assert len(prune_images(cache, home)) == 3


def test_build_waits_for_a_prune(cache: Path) -> None:
    class Waits(Exception):
        pass

    def stop_waiting(progress: Progress) -> None:
        raise Waits(progress.label)

    images = cache / "images"
    with only_pruner(images), pytest.raises(Waits, match="prune"), only_builder(images, stop_waiting):
        pass


def test_image_in_use_is_kept(cache: Path, home: Path) -> None:
    with using_image(load_image(cache, OLD)), using_image(load_image(cache, OLD)):
        assert [item.name for item in prune_images(cache, home)] == [f"image {MIDDLE[:12]}"]
        make_current(cache, load_image(cache, OLD))
    assert [item.name for item in prune_images(cache, home)] == [f"image {NEW[:12]}"]
    assert images_in(cache) == [OLD, "current"]


def test_image_that_was_pruned_cannot_be_used_or_made_current(cache: Path, home: Path) -> None:
    image = load_image(cache, OLD)
    prune_images(cache, home)
    with pytest.raises(NotFound), using_image(image):
        pass
    with pytest.raises(NotFound):
        make_current(cache, image)
    assert current_image(cache).digest == NEW


def test_templates_go_with_their_image(cache: Path, home: Path) -> None:
    put_tenant(home, 1, MIDDLE)
    going = put_template(cache, "of-old", json.dumps({"image": OLD}))
    kept = put_template(cache, "of-middle", json.dumps({"image": MIDDLE}))
    broken = [put_template(cache, f"broken-{number}", text) for number, text in enumerate(("", "[]", "{}", "3"))]
    assert [item.name for item in prune_images(cache, home)] == ["template of-old", f"image {OLD[:12]}"]
    assert not going.exists()
    assert all(folder.exists() for folder in (kept, *broken))
    assert images_in(cache) == [MIDDLE, NEW, "current"]


def test_broken_image_that_nobody_needs_is_removed(cache: Path, home: Path) -> None:
    remove_kernel(cache / "images" / OLD)
    put_tenant(home, 1, MIDDLE)
    assert [item.name for item in prune_images(cache, home)] == [f"image {OLD[:12]}"]
