"""The checkout: what of it the product is made of, and whether the system users can read it."""

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

SOURCES = ("src", "pyproject.toml", "README.md")
NOT_SOURCES = ("__pycache__", ".egg-info")
READ_BY_ALL = stat.S_IROTH
ENTER_BY_ALL = stat.S_IROTH | stat.S_IXOTH


def digest_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return one SHA-256, in hex, over names and contents, in any order given."""
    total = hashlib.sha256()
    for name, content in sorted(files):
        total.update(f"{len(name.encode())}:{name}:{len(content)}:".encode())
        total.update(content)
    return total.hexdigest()


def source_files(checkout: Path) -> Iterator[Path]:
    """Yield every file that the product is installed from."""
    for name in SOURCES:
        start = checkout / name
        if start.is_file():
            yield start
        for folder, folders, names in os.walk(start):
            folders[:] = sorted(name for name in folders if not name.endswith(NOT_SOURCES))
            yield from (Path(folder, name) for name in sorted(names))


def sources_digest(checkout: Path) -> str:
    """Return the digest of every file that the product is installed from."""
    return digest_of((str(path.relative_to(checkout)), path.read_bytes()) for path in source_files(checkout))


def is_readable_by_all(modes: Iterable[int]) -> bool:
    """Tell from `st_mode`s whether everybody may read the files and enter the folders."""
    needed = ((mode, ENTER_BY_ALL if stat.S_ISDIR(mode) else READ_BY_ALL) for mode in modes)
    return all(mode & bits == bits for mode, bits in needed)


def users_can_read(checkout: Path, users: Sequence[str]) -> bool:
    """Tell whether every one of the system users can import the product straight from the checkout.

    The modes of the sources are looked at, and the way to them is tried for real, as each user.
    """
    paths = {path for file in source_files(checkout) for path in (file, file.parent)}
    if not is_readable_by_all(path.stat().st_mode for path in paths):
        return False
    return all(can_read(user, checkout / "src/subclaw/__init__.py") for user in users)


def can_read(user: str, path: Path) -> bool:
    """Tell whether a system user can read a file, by trying it as that user. Needs root."""
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
    return subprocess.run([*as_user, "test", "-r", path], capture_output=True, timeout=10).returncode == 0
