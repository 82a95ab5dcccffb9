"""Which images tenants are pinned to, in every home that uses a cache.

Several homes can share a cache. Each host registers its home there: `cache/homes/HASH` holds the home's path.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Corrupt, Unavailable
from subclaw.machines.disks.record import read_record
from subclaw.machines.images.locks import locked

HOMES = "homes"
NEW = ".new"


@dataclass(frozen=True, kw_only=True)
class Pins:
    """How many tenants are pinned to each image, by its digest.

    `unreadable` names what could not be read, and what could therefore hold more pins.
    """

    tenants: Mapping[str, int]
    unreadable: tuple[Path, ...]


def register_home(cache: Path, home: Path) -> None:
    """Make a home, which is made if it is not there, known to a cache: its tenants' images are kept from now on.

    Raises `Unavailable`.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = os.fsencode(home.resolve())
        homes = cache / HOMES
        homes.mkdir(parents=True, exist_ok=True)
        with locked(homes):
            new = homes / NEW
            new.write_bytes(content)
            new.rename(homes / hashlib.sha256(content).hexdigest())
    except OSError as error:
        raise Unavailable("The cache of golden images cannot be written.", internal=str(error)) from error


def forget_missing_homes(cache: Path) -> None:
    """Forget the homes that no longer exist. Raises `OSError`."""
    if not (cache / HOMES).exists():
        return
    with locked(cache / HOMES):
        for registration in registrations(cache):
            if not registered_home(registration).exists():
                registration.unlink()


def read_pins(cache: Path, home: Path) -> Pins:
    """Read the pins of all homes that a cache knows, and of one that it may not know yet."""
    homes, unreadable = known_homes(cache)
    tenants: Counter[str] = Counter()
    for known in sorted({home.resolve(), *homes}):
        pinned, broken = pins_of(known)
        tenants.update(pinned)
        unreadable.extend(broken)
    return Pins(tenants=tenants, unreadable=tuple(unreadable))


def known_homes(cache: Path) -> tuple[list[Path], list[Path]]:
    """Return the homes that a cache knows, and what could not be read."""
    homes, unreadable = [], []
    try:
        for registration in registrations(cache):
            try:
                homes.append(registered_home(registration))
            except (OSError, Corrupt):
                unreadable.append(registration)
    except OSError:
        unreadable.append(cache / HOMES)
    return homes, unreadable


def registrations(cache: Path) -> list[Path]:
    """List the files that name homes. Raises `OSError`."""
    homes = cache / HOMES
    return sorted(path for path in homes.iterdir() if path.name != NEW) if homes.exists() else []


def registered_home(registration: Path) -> Path:
    """Return the home that a file names. Raises `Corrupt` if it names none, `OSError`."""
    home = Path(os.fsdecode(registration.read_bytes()))
    if not home.is_absolute():
        raise Corrupt("A home is registered without its path.", internal=str(registration))
    return home


def pins_of(home: Path) -> tuple[list[str], list[Path]]:
    """Return the digest that each tenant of a home is pinned to, and what could not be read."""
    pinned, unreadable = [], []
    machines = home / "machines"
    try:
        folders = list(machine_folders(machines))
    except FileNotFoundError:
        return [], []
    except OSError:
        return [], [machines]
    for folder in folders:
        try:
            record = read_record(folder)
        except (OSError, Corrupt):
            unreadable.append(folder)
        else:
            pinned.extend([record.image] if record else [])
    return pinned, unreadable


def machine_folders(machines: Path) -> Iterator[Path]:
    """Yield the folders of tenants' machines. Raises `OSError`, where `Path.glob` would say that there are none."""
    with os.scandir(machines) as entries:
        for entry in entries:
            if entry.is_dir():
                yield Path(entry.path)
