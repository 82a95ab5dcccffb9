"""The images in a cache: what there is, and removing what nobody needs."""

import fcntl
import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from subclaw.core.errors import Conflict, Corrupt, Denied, SubclawError, Unavailable
from subclaw.machines.images.image import (
    LOCK,
    MANIFEST,
    REMOVING,
    current_digest,
    has_its_sums,
    image_folders,
    leftovers,
    load_image,
    read_manifest,
)
from subclaw.machines.images.locks import locked
from subclaw.machines.images.pins import forget_missing_homes, read_pins

BLOCK_BYTES = 512
"""The unit of `st_blocks`."""


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An image in a cache. `size_bytes` is what it takes on the disk; a broken one's kernel (a version) may be None."""

    digest: str
    built_at: datetime
    size_bytes: int
    kernel: str | None
    is_current: bool
    is_broken: bool


@dataclass(frozen=True, kw_only=True)
class Unneeded:
    """A folder in a cache that nobody needs. `name` is for people, `size_bytes` what it takes on the disk."""

    name: str
    folder: Path
    size_bytes: int


def list_images(cache: Path, *, verify: bool = False) -> list[StoredImage]:
    """List the images of a cache, the newest first. To verify is to read every file and compare its SHA-256."""
    found = []
    for folder in image_folders(cache):
        try:
            found.append(stored_image(cache, folder, verify=verify))
        except FileNotFoundError:  # it was pruned while we looked
            continue
    return sorted(found, key=lambda image: image.built_at, reverse=True)


def stored_image(cache: Path, folder: Path, *, verify: bool) -> StoredImage:
    """Describe an image, be it whole or broken. Raises `FileNotFoundError` if it is gone."""
    kernel, whole = None, False
    try:
        image = load_image(cache, folder.name)
        kernel = str(read_manifest(folder).get("kernel", "?"))
        whole = not verify or has_its_sums(image)
    except SubclawError:
        pass
    return StoredImage(
        digest=folder.name,
        # A folder's time is that of its last file. The manifest gives none, so that two builds make the same one.
        built_at=datetime.fromtimestamp(folder.stat().st_mtime, UTC),
        size_bytes=size_on_disk(folder),
        kernel=kernel,
        is_current=folder.name == current_digest(cache),
        is_broken=not whole,
    )


def prune_images(cache: Path, home: Path, *, dry_run: bool = False) -> list[Unneeded]:
    """Remove every image that is not current, pinned or in use, its templates, and what killed builds left.

    Pins are those of all registered homes and of `home`. A dry run only says what would be removed. Raises `Conflict`
    if an image is being built, `Corrupt` if a home's pins cannot be read, `Denied`, `Unavailable`.
    """
    images = cache / "images"
    try:
        if not images.is_dir():
            return []
        with only_pruner(images), ExitStack() as locks:
            found = unneeded(cache, home, locks)
            if not dry_run:
                for item in found:
                    remove(item.folder, images)
                forget_missing_homes(cache)
    except PermissionError as error:
        raise Denied(f"The cache {cache} is root's. Use sudo.", internal=str(error)) from error
    except OSError as error:
        raise Unavailable(f"The cache {cache} cannot be pruned: {error.strerror}.", internal=str(error)) from error
    return found


@contextmanager
def only_pruner(images: Path) -> Iterator[None]:
    """Keep builders and other pruners out. Raises `Conflict` if one is at work."""
    with (images / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                "An image is being built or pruned in this cache. Try again when that is done.", internal=str(images)
            ) from error
        yield


def unneeded(cache: Path, home: Path, locks: ExitStack) -> list[Unneeded]:
    """Find what can be removed, in the order to do it. What is found stays locked, so that nobody begins to use it."""
    # First the locks, then the pins: only whoever uses an image can pin a tenant to it or make it current.
    unused = [folder for folder in image_folders(cache) if lock_unused(folder, locks)]
    pins = read_pins(cache, home)
    if pins.unreadable:
        raise Corrupt(
            f"Nothing is removed: {pins.unreadable[0]} cannot be read, so nobody knows which images are needed.",
            internal=f"{len(pins.unreadable)} cannot be read, first {pins.unreadable[0]}",
        )
    needed = {current_digest(cache), *pins.tenants}
    images = [folder for folder in unused if folder.name not in needed]
    templates = templates_of(cache, {folder.name for folder in images})
    return [
        *(described("what was left by a killed build", folder) for folder in leftovers(cache / "images")),
        *(described(f"template {folder.name[:12]}", folder) for folder in templates),
        *(described(f"image {folder.name[:12]}", folder) for folder in images),
    ]


def lock_unused(folder: Path, locks: ExitStack) -> bool:
    """Lock an image for removal; say whether nobody uses it. Raises `OSError`."""
    try:
        locks.enter_context(locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def templates_of(cache: Path, digests: Collection[str]) -> list[Path]:
    """Return the folders of the templates that were made of the given images."""
    found = []
    for manifest in sorted((cache / "templates").glob(f"*/{MANIFEST}")):
        try:
            if json.loads(manifest.read_bytes())["image"] in digests:
                found.append(manifest.parent)
        except (OSError, ValueError, KeyError, TypeError):  # not whole: it is of no image
            continue
    return found


def described(name: str, folder: Path) -> Unneeded:
    """Say how large a folder is that can be removed."""
    return Unneeded(name=name, folder=folder, size_bytes=size_on_disk(folder))


def size_on_disk(folder: Path) -> int:
    """Return how many bytes the files of a folder take. Raises `FileNotFoundError` if it is being removed."""
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) * BLOCK_BYTES


def remove(folder: Path, images: Path) -> None:
    """Remove a folder: at once for whoever looks for it by its name, so that nobody ever finds a half. `OSError`."""
    going = images / f"{REMOVING}{folder.name}"
    folder.rename(going)
    shutil.rmtree(going)
