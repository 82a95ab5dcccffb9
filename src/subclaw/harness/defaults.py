"""The files that come with subclaw and are laid into every tenant's house."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable


@cache
def default_files() -> Mapping[str, bytes]:
    """Return the content of each by its path in the house, such as `system.md`."""
    return dict(files_below(files("subclaw.harness") / "defaults", ""))


def files_below(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield the Markdown files in a folder and its folders, by their paths from there."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from files_below(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".md"):
            yield f"{prefix}{entry.name}", entry.read_bytes()
