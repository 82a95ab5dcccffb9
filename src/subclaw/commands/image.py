"""`subclaw image build`."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from subclaw.config import Settings
from subclaw.machines.image import Progress as BuildProgress
from subclaw.machines.image import build_image, make_current


def build(settings: Settings, recipe: Path, console: Console) -> None:
    """Build the image of a recipe, unless the cache has it, and make it the one that new machines start from."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        shown = bar.add_task("golden image", total=1.0)

        def show(progress: BuildProgress) -> None:
            bar.update(shown, description=progress.label, completed=progress.fraction)

        make_current(settings.cache, build_image(recipe.absolute(), settings.cache, show))
