"""Golden images: immutable, named by the digest of their recipe, kept in a cache folder."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Corrupt, NotFound, Unavailable
from subclaw.machines.build import Progress, build_into
from subclaw.machines.recipe import recipe_digest

GOLDEN = "golden.erofs"
KERNEL = "kernel"
INITRAMFS = "initramfs"
MANIFEST = "manifest.json"
FILES = (GOLDEN, KERNEL, INITRAMFS)
CURRENT = "current"
UNFINISHED = ".building-"

__all__ = [
    "Image",
    "Progress",
    "build_image",
    "current_image",
    "is_built",
    "load_image",
    "make_current",
    "recipe_digest",
]


@dataclass(frozen=True, kw_only=True)
class Image:
    """A golden image on this host."""

    digest: str
    folder: Path

    @property
    def golden(self) -> Path:
        """The read-only root file system (erofs)."""
        return self.folder / GOLDEN

    @property
    def kernel(self) -> Path:
        """The Linux kernel (bzImage)."""
        return self.folder / KERNEL

    @property
    def initramfs(self) -> Path:
        """What the kernel starts with: the drivers and /init."""
        return self.folder / INITRAMFS


def build_image(recipe: Path, cache: Path, on_progress: Callable[[Progress], None]) -> Image:
    """Return the image of a recipe, building it into `cache/images/DIGEST` if it is not there.

    Blocks for about a minute when it builds. Another process that builds in the same cache is waited for. Raises
    `Unavailable` in words for whoever runs it, and `Corrupt` if an image is there and broken.
    """
    digest = recipe_digest(recipe)
    images = cache / "images"
    if not (images / digest).exists():
        try:
            images.mkdir(parents=True, exist_ok=True)
            with only_builder(images, on_progress):
                if not (images / digest).exists():
                    make(recipe, images, digest, on_progress)
        except OSError as error:
            raise Unavailable(f"The golden image cannot be built: {error.strerror}.", internal=str(error)) from error
    on_progress(Progress(label="golden image", fraction=1.0))
    return load_image(cache, digest)


def is_built(recipe: Path, cache: Path) -> bool:
    """Return whether the image of a recipe is in the cache."""
    return (cache / "images" / recipe_digest(recipe)).exists()


def load_image(cache: Path, digest: str) -> Image:
    """Return an image that was built before. Raises `NotFound`, or `Corrupt` if its files are not what it says."""
    folder = cache / "images" / digest
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        whole = manifest["digest"] == digest and all(
            (folder / name).stat().st_size == manifest["files"][name]["size_bytes"] for name in FILES
        )
    except FileNotFoundError as error:
        raise NotFound("There is no such golden image on this host.", internal=str(error)) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Corrupt("A golden image is broken: remove its folder.", internal=f"{folder}: {error}") from error
    if not whole:
        raise Corrupt("A golden image is broken: remove its folder.", internal=str(folder))
    return Image(digest=digest, folder=folder)


def make_current(cache: Path, image: Image) -> None:
    """Make an image the one that new machines start from."""
    link = cache / "images" / f"{CURRENT}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(image.digest)
    link.rename(cache / "images" / CURRENT)


def current_image(cache: Path) -> Image:
    """Return the image that new machines start from. Raises `NotFound`, in words, or `Corrupt`."""
    try:
        digest = os.readlink(cache / "images" / CURRENT)
    except OSError as error:
        raise NotFound(
            "The golden image is not built. Build it with: make setup", internal=f"{cache}: {error.strerror}"
        ) from error
    return load_image(cache, digest)


@contextmanager
def only_builder(images: Path, on_progress: Callable[[Progress], None]) -> Iterator[None]:
    """Keep other builders out, waiting for one that is at work, and clear what a killed one left."""
    with (images / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress(Progress(label="golden image: waiting for another build", fraction=0.0))
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in images.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left)
        yield


def make(recipe: Path, images: Path, digest: str, on_progress: Callable[[Progress], None]) -> None:
    """Build in a folder of its own, and rename it when it is complete."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=images) as work_name:
        work = Path(work_name)
        result = work / "result"
        result.mkdir(mode=0o755)
        details = build_into(recipe, work, result, digest, on_progress)
        manifest = {"digest": digest, **details, "files": {name: describe(result / name) for name in FILES}}
        (result / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), "utf-8")
        result.rename(images / digest)


def describe(path: Path) -> dict[str, object]:
    """Return a file's size and SHA-256, and make it readable by all: QEMU runs as a user of its own."""
    path.chmod(0o644)
    with path.open("rb") as file:
        return {"size_bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
