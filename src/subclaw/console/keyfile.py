"""The key on disk: made when a box starts, gone when it ends. Root reads the key; web processes read its hash."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from subclaw.console.access import hash_key, new_key
from subclaw.core.errors import Denied, Unavailable

_NOT_RUNNING = "subclaw does not run with this state folder. Start it with: subclaw up"


@contextmanager
def fresh_key(key_file: Path, hash_file: Path, group_id: int) -> Iterator[str]:
    """Make a key for the life of the block: 0600 for the caller alone, its hash 0640 for the group too.

    Errors: `Unavailable` if they cannot be written.
    """
    key = new_key()
    try:
        _write(hash_file, hash_key(key).hex(), 0o640, group_id)
        _write(key_file, key, 0o600, os.getegid())
    except OSError as error:
        raise Unavailable(f"The console's key cannot be written to {key_file.parent}: {error.strerror}.") from error
    try:
        yield key
    finally:
        key_file.unlink(missing_ok=True)
        hash_file.unlink(missing_ok=True)


def read_key(key_file: Path) -> str:
    """Return the key of the box that runs. Errors: `Unavailable` if none does, `Denied` to all but root."""
    try:
        return key_file.read_text().strip()
    except FileNotFoundError as error:
        raise Unavailable(_NOT_RUNNING) from error
    except PermissionError as error:
        raise Denied("Only root may have the console's key. Use sudo.") from error


def read_key_hash(hash_file: Path) -> bytes:
    """Return the key's hash. Errors: `Unavailable` if it is not there."""
    try:
        return bytes.fromhex(hash_file.read_text())
    except (OSError, ValueError) as error:
        raise Unavailable(_NOT_RUNNING, internal=f"console key: {type(error).__name__}") from error


def _write(file: Path, content: str, mode: int, group_id: int) -> None:
    """Write a whole file that is at no moment open to others."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        os.fchown(descriptor, -1, group_id)
        os.fchmod(descriptor, mode)
        stream.write(content)
    new.replace(file)
