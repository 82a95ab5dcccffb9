"""`subclaw image build`, `list` and `prune`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from subclaw.commands.tables import Row, show
from subclaw.config import Settings
from subclaw.machines.images.image import Progress as BuildProgress
from subclaw.machines.images.image import build_image, is_built, make_current
from subclaw.machines.images.pins import read_pins
from subclaw.machines.images.store import StoredImage, list_images, prune_images

OnProgress = Callable[[BuildProgress], None]


def build(settings: Settings, recipe: Path, console: Console) -> None:
    """Build the image of a recipe, unless the cache has it, and make it the one that new machines start from."""
    recipe = recipe.absolute()
    if is_built(recipe, settings.cache):
        make_current(settings.cache, build_image(recipe, settings.cache, lambda progress: None))
        return
    began = time.monotonic()
    with _shown(console) as show:
        image = build_image(recipe, settings.cache, show)
    make_current(settings.cache, image)
    console.print(f"built the golden image {image.digest[:12]} ({time.monotonic() - began:.0f} s)")


def list_(settings: Settings, console: Console, *, verify: bool, as_json: bool) -> None:
    """List the images in the cache, the newest first. How many tenants need one is unknown if one cannot be read."""
    pins = read_pins(settings.cache, settings.home)
    rows = []
    for image in list_images(settings.cache, verify=verify):
        tenants = None if pins.unreadable else pins.tenants.get(image.digest, 0)
        rows.append(_values(image, tenants) if as_json else _words(image, tenants))
    show(rows, console, as_json=as_json, none="There are no images. Build one with: subclaw image build")
    if pins.unreadable and not as_json:
        first, *more = pins.unreadable
        others = f" (and {len(more)} more)" if more else ""
        console.print(f"Tenants are not counted: {first}{others} cannot be read.", markup=False, soft_wrap=True)


def _values(image: StoredImage, tenants: int | None) -> Row:
    return {
        "digest": image.digest,
        "built": image.built_at.strftime("%Y-%m-%dT%H:%MZ"),
        "size_bytes": image.size_bytes,
        "kernel": image.kernel,
        "current": image.is_current,
        "tenants": tenants,
        "broken": image.is_broken,
    }


def _words(image: StoredImage, tenants: int | None) -> Row:
    states = {"current": image.is_current, "broken": image.is_broken}
    return {
        "image": image.digest[:12],
        "built": image.built_at.strftime("%Y-%m-%dT%H:%MZ"),
        "size": decimal(image.size_bytes),
        "kernel": (image.kernel or "?").removesuffix("-cloud-amd64"),
        "tenants": "?" if tenants is None else tenants,
        "state": ", ".join(state for state, holds in states.items() if holds),
    }


def prune(settings: Settings, console: Console, *, dry_run: bool) -> None:
    """Remove the images that nobody needs, and say what went and how much room that made."""
    found = prune_images(settings.cache, settings.home, dry_run=dry_run)
    for item in found:
        did = "would remove" if dry_run else "removed"
        console.print(f"{did} {item.name} ({decimal(item.size_bytes)})", markup=False)
    if not found:
        console.print("Nothing to remove: every image is current, in use, or some tenant's.")
        return
    freed = decimal(sum(item.size_bytes for item in found))
    console.print(f"{freed} would be freed" if dry_run else f"{freed} freed")


@contextmanager
def _shown(console: Console) -> Iterator[OnProgress]:
    """Show a build as a bar on a terminal, and as a line for each of its steps elsewhere."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("golden image", total=1.0)
        yield lambda progress: bar.update(shown, description=progress.label, completed=progress.fraction)


class _Lines:
    """Prints a step when it begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._label = ""

    def show(self, progress: BuildProgress) -> None:
        """Print the step, if it is a new one."""
        if progress.label != self._label:
            self._label = progress.label
            self._console.print(f"{progress.label}: {progress.fraction:.0%}")
