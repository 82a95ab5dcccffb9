"""The example that `subclaw agents init` makes: an agent that works as it is."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from subclaw.core.business import AGENT_ID, OF_PERSONS
from subclaw.core.errors import Invalid


def example_files(name: str) -> dict[str, bytes]:
    """Return the files of an example agent of this name, by path. Errors: `Invalid` for the name."""
    if not AGENT_ID.fullmatch(name) or name == OF_PERSONS:
        raise Invalid(f"{name[:64]!r} is no name for an agent: use small letters, digits and hyphens.")
    folder = files("subclaw.business") / "example"
    return {path: entry.read_bytes().replace(b"NAME", name.encode()) for path, entry in _files(folder, "")}


def _files(folder: Traversable, above: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        path = f"{above}{entry.name}"
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _files(entry, f"{path}/")
        elif entry.is_file():
            yield path, entry
