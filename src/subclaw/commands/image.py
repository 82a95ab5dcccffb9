"""`subclaw image build`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from subclaw.config import Settings
from subclaw.machines.image import Progress as BuildProgress
from subclaw.machines.image import build_image, is_built, make_current

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
