"""`subclaw house show | reset | import`: what a tenant's house has, back to the default, and a house from elsewhere."""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from subclaw.commands.house_ports import HousePorts
from subclaw.commands.house_source import read_source
from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.commands.tenants import reachable_providers
from subclaw.config import Settings
from subclaw.core.errors import Conflict, Exhausted, Invalid, NotFound
from subclaw.core.house import MEMORY
from subclaw.core.recurrence import first_occurrence, parse_recurrence
from subclaw.core.schedule import Schedules
from subclaw.core.tenant import TenantId
from subclaw.core.time_zone import instant_of, read_zone, wall_of
from subclaw.core.tool import Caller
from subclaw.harness.imports.draft import Brought, ImportedReminder, LeftOut
from subclaw.harness.imports.recognise import import_found
from subclaw.models.choice import usable_choice
from subclaw.store.database import Database
from subclaw.store.tenant_settings import (
    TenantSettings,
    latest_conversation,
    set_model,
    set_time_zone,
    tenant_settings,
)

THE_REST = "the rest"


async def show_house(settings: Settings, console: Console, ports: HousePorts, tenant: str, *, as_json: bool) -> None:
    """List the files of a house, without what is in them. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        own = {file.path: file for file in await ports.read((await tenant_settings(operator, tenant)).id)}
    rows = [
        {
            "path": path,
            "bytes": len(ports.defaults[path] if file is None else file.content or b""),
            "whose": "default" if file is None else "tenant",
            "state": "" if file is None else _state(content=file.content, problem=file.problem, waits=file.is_waiting),
            "problem": "" if file is None else file.problem,
        }
        for path in sorted(ports.defaults.keys() | own.keys())
        for file in [own.get(path)]
    ]
    show(rows, console, as_json=as_json, none="There are no files.")


def _state(*, content: bytes | None, problem: str, waits: bool) -> str:
    if problem:
        return "not used"
    if content is None:
        return "removed"
    return "waits for the machine" if waits else ""


async def reset_house(settings: Settings, console: Console, ports: HousePorts, tenant: str, path: str | None) -> None:
    """Make a file what it is by default, or all but the memory; what has no default is removed. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        tenant_id = (await tenant_settings(operator, tenant)).id
    own = [file.path for file in await ports.read(tenant_id)]
    if path is not None and path not in own:
        raise NotFound(f"{tenant} has no {path} of its own.")
    paths = [path] if path is not None else [each for each in own if each != MEMORY]
    for each in paths:
        await ports.host.write_house(tenant_id, each, ports.defaults.get(each))
        _print(console, f"{each} is {'the default' if each in ports.defaults else 'removed'}.")
    if path is None and MEMORY in own:
        _print(console, f"{MEMORY} stays: subclaw house reset {tenant} {MEMORY}")
    elif not paths:
        _print(console, f"{tenant} has no files of its own.")


async def import_house(
    settings: Settings,
    console: Console,
    ports: HousePorts,
    tenant: str,
    path: Path,
    *,
    is_dry: bool = False,
    replaces: bool = False,
) -> None:
    """Bring an agent from elsewhere into a tenant's house, and say what became of everything.

    A dry run changes nothing. Files that the tenant has of its own are in the way, unless the import `replaces` them.
    Errors: `NotFound`, `Invalid`, `Exhausted`, `Conflict`, `Unavailable`.
    """
    now = datetime.now(UTC)
    source = await asyncio.to_thread(read_source, path)
    async with operator_database(settings) as operator:
        owner = await tenant_settings(operator, tenant)
        brought = import_found(source.files, now, owner.time_zone)
        if source.others:
            others = LeftOut(source=THE_REST, why=f"{source.others:,} files or folders are no small texts, or links")
            brought = replace(brought, left_out=(*brought.left_out, others))
        in_the_way = await _in_the_way(ports, owner.id, brought)
        if in_the_way and not (replaces or is_dry):
            names = ", ".join(in_the_way)
            raise Conflict(f"{tenant} has its own {names}. To replace what is there, say --replace.")
        if not is_dry:
            brought = await _move_in(settings, ports, operator, owner, brought, now)
    _report(console, tenant, brought, in_the_way=in_the_way, is_dry=is_dry)


async def _in_the_way(ports: HousePorts, tenant_id: TenantId, brought: Brought) -> list[str]:
    """Return the paths of files that the tenant has of its own and the import has otherwise."""
    own = {file.path: file.content for file in await ports.read(tenant_id)}
    return [path for path, content in sorted(brought.files.items()) if own.get(path) not in (None, content)]


async def _move_in(
    settings: Settings, ports: HousePorts, operator: Database, owner: TenantSettings, brought: Brought, now: datetime
) -> Brought:
    """Do what an import comes to; return that, with what could not be done."""
    failed: list[LeftOut] = []
    for path, content in brought.files.items():
        await ports.host.write_house(owner.id, path, content)
    if owner.time_zone and brought.time_zone not in ("", owner.time_zone):
        failed.append(LeftOut(source=f"the time zone {brought.time_zone}", why=f"it is {owner.time_zone} already"))
        brought = replace(brought, time_zone="")
    elif brought.time_zone and not owner.time_zone:
        await set_time_zone(operator, owner.id, brought.time_zone)
    if brought.model:
        try:
            await set_model(operator, owner.id, str(usable_choice(brought.model, reachable_providers(settings))))
        except Invalid as error:
            failed.append(LeftOut(source="the model", why=error.public))
            brought = replace(brought, model="")
    try:
        conversation_id = await latest_conversation(operator, owner.id) if brought.reminders else 0
    except NotFound as error:
        failed.append(LeftOut(source=f"{len(brought.reminders)} reminders", why=error.public))
        return replace(brought, reminders=(), left_out=(*brought.left_out, *failed))
    time_zone = owner.time_zone or brought.time_zone or "UTC"
    kept: list[ImportedReminder] = []
    for reminder in brought.reminders:
        try:
            await _set_reminder(ports.reminders, owner.id, conversation_id, reminder, time_zone, now)
            kept.append(reminder)
        except (Invalid, Exhausted) as error:
            failed.append(LeftOut(source=f"the reminder at {reminder.when}", why=error.public))
    return replace(brought, reminders=tuple(kept), left_out=(*brought.left_out, *failed))


async def _set_reminder(
    reminders: Schedules,
    tenant_id: TenantId,
    conversation_id: int,
    reminder: ImportedReminder,
    time_zone: str,
    now: datetime,
) -> None:
    """Set a reminder in a conversation; the same one again sets nothing. Errors: `Invalid`, `Exhausted`."""
    name = reminder.time_zone or time_zone
    when, zone = datetime.fromisoformat(reminder.when), read_zone(name)
    due_at, recurrence = when.astimezone(UTC) if when.tzinfo else instant_of(when, zone), None
    if reminder.repeat is not None:
        begin = wall_of(when, zone) if when.tzinfo else when
        first = first_occurrence(parse_recurrence(reminder.repeat, begin=begin, time_zone=name), now)
        due_at, recurrence = first.due_at, first.recurrence
    if due_at <= now:
        raise Invalid("its time is past")
    digest = hashlib.sha256(repr(reminder).encode()).hexdigest()[:32]
    caller = Caller(
        tenant_id=tenant_id, conversation_id=conversation_id, call_id=f"import_{digest}", turn_id=f"import_{digest}"
    )
    await reminders.set(
        caller,
        due_at=due_at,
        mode=reminder.mode,
        text=reminder.text,
        if_missed=reminder.if_missed,
        time_zone=name,
        recurrence=recurrence,
    )


def _report(console: Console, tenant: str, brought: Brought, *, in_the_way: list[str], is_dry: bool) -> None:
    verb = "would come" if is_dry else "came"
    what = f"{counted(len(brought.files), 'file')} and {counted(len(brought.reminders), 'reminder')}"
    _print(console, f"{what} {verb} to {tenant} from {brought.origin}.")
    _lines(console, "", (f"{taken.source} -> {taken.target}" for taken in brought.taken))
    if brought.time_zone:
        _print(console, f"Time zone: {brought.time_zone}.")
    if brought.model:
        _print(console, f"Model: {brought.model}.")
    _lines(console, "Would replace:" if is_dry else "Replaced:", in_the_way)
    _lines(console, "Left out:", (f"{left.source}: {left.why}" for left in brought.left_out))
    _lines(
        console,
        "Taken out, since a house holds no secrets:",
        (f"{found.kind} in {found.source}" for found in brought.secrets),
    )
    if brought.secrets:
        _print(console, f"Hand them over with: subclaw secrets set NAME --hosts HOST --tenant {tenant}")


def counted(count: int, word: str) -> str:
    """Return how many there are of something, in words."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _lines(console: Console, heading: str, lines: Iterable[str]) -> None:
    found = list(lines)
    if found and heading:
        _print(console, heading)
    for line in found:
        _print(console, f"  {line}")


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)
