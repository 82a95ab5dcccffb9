"""`subclaw house export`: a tenant's house in one archive, with its machine's folders if they are wanted."""

import asyncio
import gzip
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from pathlib import Path
from typing import IO

from rich.console import Console

from subclaw.commands.house import counted
from subclaw.commands.house_ports import HousePorts
from subclaw.commands.lists import operator_database
from subclaw.config import Settings
from subclaw.core.errors import NotFound, Unavailable
from subclaw.core.machine import SITE
from subclaw.core.schedule import Schedule
from subclaw.core.tenant import TenantId
from subclaw.harness.exports import ExportedHouse, archive_files
from subclaw.harness.imports.draft import ImportedReminder
from subclaw.machines.limits import ARCHIVE_LIMIT_BYTES
from subclaw.store.tenant_settings import tenant_settings

FOLDERS = {"machine/home-agent.tar": "/home/agent", "machine/site.tar": SITE}
"""The machine's folders: each is a tar in the archive, by the name that it has there."""

STANDARD_OUTPUT = "-"

SPOOL_FOLDER = "/var/tmp"
"""Where a folder's tar lies until it is in the archive, which says the size of what is in it before it."""


async def export_house(
    settings: Settings, console: Console, ports: HousePorts, tenant: str, target: str, *, with_home: bool = False
) -> None:
    """Write a tenant's house to a file, or to standard output (`-`). Errors: `NotFound`, `Unavailable`.

    The file is there once it is complete, for its owner alone. The machine wakes only if its folders are wanted.
    """
    house, tenant_id = await _house(settings, ports, tenant)
    with ExitStack() as stack:
        folders: dict[str, IO[bytes]] = {}
        for name, folder in FOLDERS.items() if with_home else ():
            spool = stack.enter_context(tempfile.TemporaryFile(dir=SPOOL_FOLDER))
            if await _spool(ports, tenant_id, folder, spool):
                folders[name] = spool
        await asyncio.to_thread(_write, target, house, folders)
    if target != STANDARD_OUTPUT:
        what = f"{counted(len(house.files), 'file')} and {counted(len(house.reminders), 'reminder')}"
        console.print(f"{target} has {what} of {tenant}.", soft_wrap=True, markup=False)


async def _house(settings: Settings, ports: HousePorts, tenant: str) -> tuple[ExportedHouse, TenantId]:
    async with operator_database(settings) as operator:
        found = await tenant_settings(operator, tenant)
    contents = {file.path: file.served if file.problem else file.content for file in await ports.read(found.id)}
    house = ExportedHouse(
        tenant=tenant,
        model=found.model,
        time_zone=found.time_zone,
        files={path: content for path, content in contents.items() if content is not None},
        reminders=[_reminder(schedule) for schedule in await ports.reminders.pending(found.id)],
    )
    return house, found.id


def _reminder(schedule: Schedule) -> ImportedReminder:
    when, repeat, time_zone = schedule.due_at.astimezone(UTC).isoformat(timespec="seconds"), None, ""
    if again := schedule.recurrence:
        until = f";UNTIL={again.until.astimezone(UTC):%Y%m%dT%H%M%SZ}" if again.until else ""
        repeat = again.rule + until + (f";COUNT={again.left}" if again.left is not None else "")
        when, time_zone = again.wall.isoformat(timespec="seconds"), again.time_zone
    return ImportedReminder(
        when=when,
        repeat=repeat,
        mode=schedule.mode,
        text=schedule.text,
        time_zone=time_zone,
        if_missed=schedule.if_missed,
    )


async def _spool(ports: HousePorts, tenant_id: TenantId, folder: str, spool: IO[bytes]) -> bool:
    """Write a tar of a machine's folder to a file; return whether there is such a folder."""
    try:
        async for piece in ports.machines.archive(tenant_id, folder, limit_bytes=ARCHIVE_LIMIT_BYTES):
            await asyncio.to_thread(spool.write, piece)
    except NotFound:
        return False
    return True


def _write(target: str, house: ExportedHouse, folders: dict[str, IO[bytes]]) -> None:
    with (
        _output(target) as out,
        gzip.GzipFile(filename="", fileobj=out, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in archive_files(house).items():
            tar.addfile(_entry(name, len(content)), io.BytesIO(content))
        for name, file in folders.items():
            size_bytes = file.tell()
            file.seek(0)
            tar.addfile(_entry(name, size_bytes), file)


def _entry(name: str, size_bytes: int) -> tarfile.TarInfo:
    """Return an entry that says nothing of when, where and by whom it was made."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size_bytes, 0o600
    return entry


@contextmanager
def _output(target: str) -> Iterator[IO[bytes]]:
    """Give a file that has its name once the block ends without an error, or standard output. Errors: `Unavailable`."""
    if target == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}.") from error
