"""The recipe of the golden image, and the digest that names what it builds."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import subclaw_guest
from subclaw.core.errors import Unavailable

BUILDER = "2"
"""Changes when the builder makes something else of the same recipe."""

SUITE = "bookworm"
"""The Debian release that the image is made of."""


def recipe_digest(recipe: Path) -> str:
    """Return the SHA-256 (hex) of every recipe file, the guest package's sources and the builder's version.

    Debian's own updates do not change it: an image is made anew when its recipe is, or when its cache is emptied.
    Raises `Unavailable` if there is no recipe.
    """
    digest = hashlib.sha256(f"{BUILDER} {SUITE}\n".encode())
    for name, path in recipe_files(recipe):
        content = path.read_bytes()
        digest.update(f"{name} {is_executable(path):d} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def recipe_files(recipe: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file that the image depends on, in a fixed order, with the name it has in the digest."""
    if not (recipe / "packages.txt").is_file():
        raise Unavailable("The recipe of the golden image is missing.", internal=f"no packages.txt in {recipe}")
    for path in sorted(recipe.rglob("*")):
        if path.is_file():
            yield f"recipe/{path.relative_to(recipe)}", path
    for path in guest_sources():
        yield f"guest/{path.name}", path


def guest_sources() -> list[Path]:
    """Return the modules of the guest agent, which the image holds a copy of."""
    return sorted(Path(subclaw_guest.__path__[0]).glob("*.py"))


def is_executable(path: Path) -> bool:
    """Say whether a recipe file is a program. No other permission of a checkout counts."""
    return bool(path.stat().st_mode & 0o100)


def lines_of(path: Path) -> list[str]:
    """Return a list file's lines without comments and blanks."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
