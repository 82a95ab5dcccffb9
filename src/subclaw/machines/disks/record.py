"""What is recorded of a tenant's machine, in `machine.json` beside its disk."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from subclaw.core.errors import Conflict, Corrupt
from subclaw.machines.disks.copies import sync_folder

RECORD = "machine.json"
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a tenant's machine. `generation` counts its starts, from 1.

    `image` is the digest of the golden image that it is pinned to. `refused_image` is that of one which did not come
    up for this tenant and is not tried again; empty if there is none. The disk's size is the file's own.
    """

    generation: int
    image: str
    refused_image: str = ""


def read_record(folder: Path) -> Record | None:
    """Return what is recorded of a tenant's machine; None if it is new. Raises `Corrupt`, `OSError`."""
    path = folder / RECORD
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return parse_record(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise Corrupt("The record of the machine's disk is broken.", internal=f"{path}: {error}") from error


def parse_record(fields: object) -> Record:
    """Return the record that is meant, of version 2 or of version 1, which refused no image. Raises `ValueError`."""
    match fields:
        case {"version": version, "generation": generation, "image": image, "refused_image": refused, **others}:
            known_version = VERSION
        case {"version": version, "generation": generation, "image": image, **others}:
            known_version, refused = 1, ""
        case _:
            raise ValueError("fields are missing")
    if type(version) is not int or version != known_version or others:
        raise ValueError(f"version {version!r} with other fields than its own")
    if type(generation) is not int or generation < 1 or type(image) is not str or type(refused) is not str:
        raise ValueError(f"fields of other types than their own: {fields!r}")
    return Record(generation=generation, image=image, refused_image=refused)


def write_record(folder: Path, record: Record) -> None:
    """Record a start of a tenant's machine, safely on disk, if it is a later one than that on record.

    Raises `Conflict` if the generation is not greater than the one on record: somebody else has started the machine
    since. Raises `Corrupt`, `OSError`.
    """
    last = read_record(folder)
    if last is not None and record.generation <= last.generation:
        raise Conflict(
            "The machine was started elsewhere in the meantime.",
            internal=f"{folder}: generation {record.generation} after {last.generation}",
        )
    put_record(folder, record)


def repin(folder: Path, generation: int, image: str) -> None:
    """Pin a tenant to the golden image on which its newest start came up. Raises `Conflict`, `Corrupt`, `OSError`."""
    last = read_record(folder)
    if last is None or last.generation != generation:
        raise Conflict(
            "The machine was started elsewhere in the meantime.", internal=f"{folder}: {generation} is not the newest"
        )
    put_record(folder, Record(generation=generation, image=image))


def put_record(folder: Path, record: Record) -> None:
    """Replace the record, safely on disk. Raises `OSError`."""
    new = folder / f".{RECORD}.new"
    with new.open("w", encoding="utf-8") as file:
        json.dump({"version": VERSION, **asdict(record)}, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(folder / RECORD)
    sync_folder(folder)
