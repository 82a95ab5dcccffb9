"""Snapshots: the memory and the devices of a machine that sleeps in the middle of what its programs do.

A snapshot holds what differs from the template that the machine was restored from, so it is small, and it is good for
one restore only: as soon as the machine runs, its disk goes on without it. It lies in `snapshot` in the tenant's
folder.
"""

import asyncio
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from subclaw.core.errors import Corrupt, Unavailable
from subclaw.machines.disks.copies import sync_folder
from subclaw.machines.qemu.memory import bring_changes, keep_changes
from subclaw.machines.qemu.running import Running
from subclaw.machines.qemu.template import Template

FOLDER = "snapshot"
UNFINISHED = ".snapshot.new"
USED = ".snapshot.used"
PAGES = "pages"
DEVICES = "devices"
FIELDS = "snapshot.json"
DEVICES_LIMIT_BYTES = 16 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What is needed to go on. `template` is an id; `generation` the start that was put to sleep; `last_stream` its."""

    template: str
    generation: int
    last_stream: int


async def save_snapshot(machine: Running, template: Template, folder: Path, generation: int) -> None:
    """Save a machine, none of whose streams is open, and leave it stopped.

    Raises `Unavailable`, `Corrupt`, `OSError`.
    """
    made = folder / UNFINISHED
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    try:
        await machine.monitor.stop()
        with (made / DEVICES).open("wb") as file:
            await machine.monitor.save_devices(file.fileno())
            os.fsync(file.fileno())
        if (made / DEVICES).stat().st_size > DEVICES_LIMIT_BYTES:
            raise Corrupt("The machine could not be saved.", internal="the state of its devices is too large")
        await asyncio.to_thread(keep_changes, machine.process_id, template.memory, made / PAGES)
        fields = Snapshot(template=template.id, generation=generation, last_stream=machine.link.last_number)
        (made / FIELDS).write_text(json.dumps(asdict(fields)), "utf-8")
        forget_snapshot(folder)
        made.rename(folder / FOLDER)
        sync_folder(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def read_snapshot(folder: Path) -> Snapshot | None:
    """Return the snapshot in a tenant's folder; None if there is none that can be used."""
    try:
        return Snapshot(**json.loads((folder / FOLDER / FIELDS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def use_snapshot(folder: Path) -> Path:
    """Take the snapshot out of a tenant's folder, so that it is used once; return where it is now. Raises `OSError`."""
    used = folder / USED
    shutil.rmtree(used, ignore_errors=True)
    (folder / FOLDER).rename(used)
    sync_folder(folder)
    return used


def forget_snapshot(folder: Path) -> None:
    """Remove what there is of snapshots, used or not. Raises `OSError`."""
    for name in (FOLDER, USED):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def open_devices(used: Path) -> int:
    """Open the state of the devices, for the machine to load. Raises `OSError`."""
    return os.open(used / DEVICES, os.O_RDONLY | os.O_CLOEXEC)


async def bring_memory(machine: Running, template: Template, used: Path) -> None:
    """Give a machine that was restored from the template, and has not run, the memory of a snapshot.

    Raises `Unavailable`.
    """
    try:
        await asyncio.to_thread(bring_changes, machine.process_id, template.memory, used / PAGES)
    except (OSError, Corrupt) as error:
        raise Unavailable("The machine could not be woken.", internal=f"its memory: {error}") from error
