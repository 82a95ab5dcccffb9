"""Images in the cache."""

import json
from pathlib import Path

import pytest

from subclaw.core.errors import Corrupt, NotFound
from subclaw.machines.images.image import FILES, Progress, build_image, load_image, recipe_digest

RECIPE = Path(__file__).parents[3] / "image"


def put_image(cache: Path, digest: str) -> Path:
    """Put an image that looks whole into a cache."""
    folder = cache / "images" / digest
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(name.encode())
    manifest = {"digest": digest, "files": {name: {"size_bytes": len(name)} for name in FILES}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def test_image_that_is_there_is_returned_at_once(tmp_path: Path) -> None:
    folder = put_image(tmp_path, recipe_digest(RECIPE))
    progress: list[Progress] = []
    image = build_image(RECIPE, tmp_path, progress.append)
    assert image.golden == folder / "golden.erofs"
    assert [step.fraction for step in progress] == [1.0]


def test_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_image(tmp_path, "0" * 64)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"digest": "x", "files": {}}', '{"digest": 1, "files": 1}'])
def test_broken_manifest(tmp_path: Path, manifest: str) -> None:
    folder = put_image(tmp_path, "abc")
    (folder / "manifest.json").write_text(manifest, "utf-8")
    with pytest.raises(Corrupt):
        load_image(tmp_path, "abc")


def test_file_of_the_wrong_size(tmp_path: Path) -> None:
    folder = put_image(tmp_path, "abc")
    assert load_image(tmp_path, "abc").digest == "abc"
    (folder / "kernel").write_bytes(b"")
    with pytest.raises(Corrupt):
        load_image(tmp_path, "abc")
