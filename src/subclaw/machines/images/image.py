"""Golden images: immutable, named by the digest of their recipe, kept in a cache folder."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subclaw.core.errors import Corrupt, NotFound, Unavailable
from subclaw.machines.images.build import Progress, build_into
from subclaw.machines.images.locks import locked
from subclaw.machines.images.recipe import recipe_digest

GOLDEN = "golden.erofs"
KERNEL = "kernel"
INITRAMFS = "initramfs"
MANIFEST = "manifest.json"
FILES = (GOLDEN, KERNEL, INITRAMFS)
CURRENT = "current"
LOCK = ".lock"
UNFINISHED = ".building-"
REMOVING = ".removing-"
DIGEST = re.compile("[0-9a-f]{64}")
BROKEN = "A golden image is broken: remove its folder."

__all__ = [
    "Image",
    "Progress",
    "build_image",
    "current_digest",
    "current_image",
    "has_its_sums",
    "image_folders",
    "is_built",
    "load_image",
    "make_current",
    "recipe_digest",
    "using_image",
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


def image_folders(cache: Path) -> list[Path]:
    """List the folders of the images in a cache, whole or broken. A folder with another name is somebody else's."""
    return sorted(path for path in (cache / "images").glob("*") if DIGEST.fullmatch(path.name) and path.is_dir())


def load_image(cache: Path, digest: str) -> Image:
    """Return an image that was built before. Raises `NotFound`, or `Corrupt` if its files are not what it says."""
    folder = cache / "images" / digest
    manifest = read_manifest(folder)
    try:
        whole = manifest["digest"] == digest and all(
            (folder / name).stat().st_size == manifest["files"][name]["size_bytes"] for name in FILES
        )
    except (OSError, KeyError, TypeError) as error:
        raise Corrupt(BROKEN, internal=f"{folder}: {error}") from error
    if not whole:
        raise Corrupt(BROKEN, internal=str(folder))
    return Image(digest=digest, folder=folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what an image says of itself. Raises `NotFound` if there is no image, `Corrupt`."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise NotFound("There is no such golden image on this host.", internal=str(error)) from error
    except (OSError, ValueError) as error:
        raise Corrupt(BROKEN, internal=f"{folder}: {error}") from error
    if not isinstance(manifest, dict):
        raise Corrupt(BROKEN, internal=str(folder))
    return manifest


def has_its_sums(image: Image) -> bool:
    """Say whether an image's files have the SHA-256 that it gives them. Reads them whole: about half a second.

    Raises `NotFound`, `Corrupt`.
    """
    manifest = read_manifest(image.folder)
    try:
        return all(sha256(image.folder / name) == manifest["files"][name]["sha256"] for name in FILES)
    except (OSError, KeyError, TypeError) as error:
        raise Corrupt(BROKEN, internal=f"{image.folder}: {error}") from error


@contextmanager
def using_image(image: Image) -> Iterator[None]:
    """Keep an image from being pruned while the body runs.

    Whoever starts machines from an image, pins tenants to it or makes it current does so here. May wait for a prune to
    end, about a second. Raises `NotFound` if the image was pruned.
    """
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked(image.folder, fcntl.LOCK_SH))
            there = os.path.samestat(os.fstat(descriptor), image.folder.stat())
        except OSError as error:
            raise NotFound("There is no such golden image on this host.", internal=str(error)) from error
        if not there:
            raise NotFound("The golden image was pruned. Build it again.", internal=str(image.folder))
        yield


def make_current(cache: Path, image: Image) -> None:
    """Make an image the one that new machines start from. Raises `NotFound` if it was pruned meanwhile."""
    with using_image(image):
        link = cache / "images" / f"{CURRENT}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(image.digest)
        link.rename(cache / "images" / CURRENT)


def current_image(cache: Path) -> Image:
    """Return the image that new machines start from. Raises `NotFound`, in words, or `Corrupt`."""
    digest = current_digest(cache)
    if digest is None:
        raise NotFound("The golden image is not built. Build it with: make setup", internal=f"no image in {cache}")
    return load_image(cache, digest)


def current_digest(cache: Path) -> str | None:
    """Return the digest of the image that new machines start from; None if none was ever built."""
    try:
        return os.readlink(cache / "images" / CURRENT)
    except OSError:
        return None


@contextmanager
def only_builder(images: Path, on_progress: Callable[[Progress], None]) -> Iterator[None]:
    """Keep other builders and pruners out, waiting for one that is at work, and clear what a killed one left."""
    with (images / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress(Progress(label="golden image: waiting for another build or prune", fraction=0.0))
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in leftovers(images):
            shutil.rmtree(left)
        yield


def leftovers(images: Path) -> list[Path]:
    """List what killed builders and pruners left; it is theirs while they live."""
    return sorted([*images.glob(f"{UNFINISHED}*"), *images.glob(f"{REMOVING}*")])


def make(recipe: Path, images: Path, digest: str, on_progress: Callable[[Progress], None]) -> None:
    """Build in a folder of its own, and rename it when it is complete."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=images) as work_name:
        work = Path(work_name)
        result = work / "result"
        result.mkdir(mode=0o755)
        details = build_into(recipe, work, result, digest, on_progress)
        manifest = {"digest": digest, **details, "files": {name: describe(result / name) for name in FILES}}
        (result / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), "utf-8")
        (result / MANIFEST).chmod(0o444)
        result.chmod(0o555)
        result.rename(images / digest)


def describe(path: Path) -> dict[str, object]:
    """Return a file's size and SHA-256, and make it read-only, for all: QEMU runs as a user of its own."""
    path.chmod(0o444)
    return {"size_bytes": path.stat().st_size, "sha256": sha256(path)}


def sha256(path: Path) -> str:
    """Return a file's SHA-256 (hex). Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
