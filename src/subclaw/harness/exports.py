"""A tenant's house as files of one archive, and back: what `subclaw house export` writes and `import` reads.

    manifest.json     which format this is, the tenant's name, its model and its time zone, each file's SHA-256
    reminders.json    a list of reminders, each as `ImportedReminder` has it
    house/…           the files of the house that are the tenant's own

The same house gives the same bytes.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.schedule import TEXT_LIMIT_CHARACTERS, IfMissed, ScheduleMode
from subclaw.harness.imports.draft import Brought, Draft, ImportedReminder
from subclaw.harness.imports.jobs import JOBS_LIMIT, known_zone

ORIGIN = "an exported house"
FORMAT = "subclaw-house"
VERSION = 1
YEARS = 6
"""How many years away a reminder may be."""

MANIFEST, REMINDERS, HOUSE_FOLDER = "manifest.json", "reminders.json", "house/"


@dataclass(frozen=True, kw_only=True)
class ExportedHouse:
    """What is exported of a tenant. `files` are by their path in the house; an empty `model` or zone is as usual."""

    tenant: str
    model: str
    time_zone: str
    files: Mapping[str, bytes]
    reminders: Sequence[ImportedReminder]


def archive_files(house: ExportedHouse) -> dict[str, bytes]:
    """Return the files of an archive in the order in which they are in it."""
    digests = {path: hashlib.sha256(house.files[path]).hexdigest() for path in sorted(house.files)}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "tenant": house.tenant,
        "model": house.model,
        "time_zone": house.time_zone,
        "files": digests,
    }
    reminders = sorted(map(asdict, house.reminders), key=lambda each: json.dumps(each, sort_keys=True))
    made = {MANIFEST: _json(manifest), REMINDERS: _json(reminders)}
    return made | {HOUSE_FOLDER + path: house.files[path] for path in digests}


def is_exported(paths: Collection[str]) -> bool:
    """Tell whether these are the paths of an archive that `export` wrote."""
    return MANIFEST in paths and REMINDERS in paths


def import_exported(draft: Draft, now: datetime, tenants_zone: str = "") -> Brought:
    """Make a house of an archive that `export` wrote. `now` is the time, in UTC. Errors: `Invalid` for another one.

    Its reminders say their time zones, or mean the tenant's, whichever that is.
    """
    manifest = draft.data(MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Invalid(f"{MANIFEST} is not that of an exported house.")
    if manifest.get("version") != VERSION:
        raise Invalid(f"That archive has version {str(manifest.get('version'))[:20]}; this subclaw reads {VERSION}.")
    for path in sorted(draft.found):
        if path.startswith(HOUSE_FOLDER):
            draft.put(path.removeprefix(HOUSE_FOLDER), draft.content(path), sources=[path])
    reminders = draft.data(REMINDERS)
    for number, fields in enumerate(reminders[:JOBS_LIMIT] if isinstance(reminders, list) else []):
        _put_reminder(draft, f"{REMINDERS}: {number + 1}", fields, now)
    model, time_zone = (str(manifest.get(name) or "")[:200] for name in ("model", "time_zone"))
    try:
        known_zone(time_zone)
    except Invalid as error:
        draft.leave_out("the time zone", error.public)
        time_zone = ""
    return draft.finish(ORIGIN, model=model, time_zone=time_zone)


def _put_reminder(draft: Draft, source: str, fields: Any, now: datetime) -> None:
    try:
        reminder = ImportedReminder(
            **{**fields, "mode": ScheduleMode(fields["mode"]), "if_missed": IfMissed(fields["if_missed"])}
        )
        when = datetime.fromisoformat(reminder.when)
        known_zone(reminder.time_zone)
        if abs(when.year - now.year) > YEARS:
            raise ValueError("it is in no time of ours")
        is_past = reminder.repeat is None and when.tzinfo is not None and when <= now
        texts = (reminder.text, reminder.repeat or "")
        if not all(isinstance(text, str) and len(text) <= TEXT_LIMIT_CHARACTERS for text in texts):
            raise ValueError("a text is too long, or none")
    except (KeyError, TypeError, ValueError, Invalid):
        draft.leave_out(source, "it is no reminder")
        return
    if is_past:
        draft.leave_out(source, "its time is past")
        return
    draft.reminders.append(reminder)
    draft.took(source, f"a reminder at {reminder.when}")


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
