"""The name under which this host keeps machines: chosen once for a state folder, and moved along with it."""

import os
import re
import secrets

from subclaw.core.errors import Corrupt, Unavailable
from subclaw.home import Home


def host_name(home: Home) -> str:
    """Return the host's name, `host-` and 8 hexadecimal digits, made if there is none. One process at a time calls it.

    Errors: `Corrupt` for a file that holds something else, since a new name would leave the machines with nobody;
    `Unavailable` if the folder cannot be written.
    """
    file = home.host_name_file
    try:
        if not file.exists():
            _write(home, f"host-{secrets.token_hex(4)}")
        name = file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise Unavailable(f"The name of this host cannot be kept in {file}.", internal=str(error)) from error
    if not re.fullmatch(r"host-[0-9a-f]{8}", name):
        raise Corrupt(f"The file {file} does not hold this host's name. Restore it from a backup.")
    return name


def _write(home: Home, name: str) -> None:
    """Write the name, safely on disk: it is there whole or not at all."""
    new = home.host_name_file.with_name(f".{home.host_name_file.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(f"{name}\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(home.host_name_file)
    folder = os.open(home.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
