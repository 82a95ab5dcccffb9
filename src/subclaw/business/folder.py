"""An agent's folder on disk: read whole, within bounds, once."""

import os
from collections.abc import Iterator
from pathlib import Path

from subclaw.core.errors import Invalid, NotFound

FILES_LIMIT = 300
FILE_LIMIT_BYTES = 2_000_000
FOLDER_LIMIT_BYTES = 8_000_000


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by path, without hidden ones and `__pycache__`. Errors: `NotFound`, `Invalid`."""
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}. `subclaw agents init {folder.name}` makes an example.")
    files: dict[str, bytes] = {}
    size_bytes = 0
    try:
        for path in _files(folder):
            name = path.relative_to(folder).as_posix()
            files[name] = _content(path, name)
            size_bytes += len(files[name])
            if len(files) > FILES_LIMIT or size_bytes > FOLDER_LIMIT_BYTES:
                limits = f"{FILES_LIMIT} files, {FOLDER_LIMIT_BYTES:,} bytes"
                raise Invalid(f"{folder} is too large ({limits}). Remove what the agent does not need.")
    except OSError as error:
        raise Invalid(f"{error.filename}:1: This cannot be read: {error.strerror}. Correct its rights.") from error
    return files


def _files(folder: Path) -> Iterator[Path]:
    for inside, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        yield from (Path(inside) / name for name in sorted(names) if not name.startswith("."))
        for name in folders:
            if (Path(inside) / name).is_symlink():
                raise Invalid(f"{Path(inside) / name}:1: This is a link. Put the folder itself here.")


def _content(path: Path, name: str) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise Invalid(f"{path}:1: This is no regular file. Put the file itself here.")
    if not name.isprintable() or len(name) > 200:
        raise Invalid(f"{name!a}:1: This is no name for a file. Use letters, digits and hyphens.")
    with path.open("rb") as file:
        content = file.read(FILE_LIMIT_BYTES + 1)
    if len(content) > FILE_LIMIT_BYTES:
        raise Invalid(f"{path}:1: This is larger than {FILE_LIMIT_BYTES:,} bytes. Shorten it.")
    return content


def _raise(error: OSError) -> None:
    raise error
