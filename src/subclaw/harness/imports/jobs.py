"""Jobs of a scheduler from elsewhere, as reminders at which the agent wakes and acts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from subclaw.core.errors import Invalid
from subclaw.core.house import HOUSE, SKILLS
from subclaw.core.recurrence import AHEAD_LIMIT
from subclaw.core.schedule import TEXT_LIMIT_CHARACTERS, ScheduleMode
from subclaw.core.time_zone import read_zone
from subclaw.harness.imports.cron import cron_repetitions, interval_repetition
from subclaw.harness.imports.draft import Draft, ImportedReminder

JOBS_LIMIT = 100
"""Most jobs that are looked at: a tenant has no more reminders than that."""

Job = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Times:
    """One time, or a first time and the RRULE of those after it; see `ImportedReminder`."""

    when: str
    repeat: str | None = None
    time_zone: str = ""


def jobs_of(draft: Draft, path: str) -> list[tuple[str, Job]]:
    """Return the jobs of a file that are objects, each with a name for the report. There are no more than a few."""
    data = draft.data(path)
    found = data.get("jobs") if isinstance(data, dict) else data
    if data is not None and not isinstance(found, list):
        draft.leave_out(path, "it is no list of jobs")
    jobs = [job for job in found if isinstance(job, dict)] if isinstance(found, list) else []
    if len(jobs) > JOBS_LIMIT:
        draft.leave_out(f"{len(jobs) - JOBS_LIMIT} jobs", f"a tenant has at most {JOBS_LIMIT} reminders")
    return [(f"{path}: {_name(job)}", job) for job in jobs[:JOBS_LIMIT]]


def put_reminders(draft: Draft, source: str, text: str, times: Iterable[Times]) -> None:
    """Put a job into the draft as reminders, one for each of its times. A long text becomes a skill that they name."""
    cleared = draft.cleared(source, text.strip())
    if not cleared:
        draft.leave_out(source, "it says nothing to do")
        return
    if len(cleared) > TEXT_LIMIT_CHARACTERS:
        name = f"reminder-{re.sub(r'[^a-z0-9]+', '-', source.rpartition(': ')[2].lower()).strip('-')[:60] or 'job'}"
        path = f"{SKILLS}/{name}/SKILL.md"
        about = f"---\nname: {name}\ndescription: What to do when the reminder of this name is due.\n---\n\n"
        if not draft.put(path, f"{about}{cleared}\n", sources=[source]):
            return
        cleared = f"Do what {HOUSE}/{path} says."
    for each in times:
        draft.reminders.append(
            ImportedReminder(
                when=each.when,
                repeat=each.repeat,
                mode=ScheduleMode.AGENT_TURN,
                text=cleared,
                time_zone=each.time_zone,
            )
        )
        draft.took(source, f"a reminder at {each.when} {each.time_zone}".strip() + f", {each.repeat or 'once'}")


def cron_times(expression: object, time_zone: str, now: datetime, *, count: int | None = None) -> tuple[Times, ...]:
    """Return the times of a cron expression in a time zone; `count` is how many there are to be. Errors: `Invalid`."""
    if not isinstance(expression, str) or len(expression) > 500:
        raise Invalid("it has no cron expression")
    found = cron_repetitions(expression, now.astimezone(ZoneInfo(time_zone)).replace(tzinfo=None))
    if count is not None and len(found) > 1:
        raise Invalid("it comes on dates or on days of the week, and only so many times, which no reminder can say")
    suffix = "" if count is None else f";COUNT={count}"
    return tuple(
        Times(when=each.first.isoformat(timespec="minutes"), repeat=each.rule + suffix, time_zone=time_zone)
        for each in found
    )


def one_time(text: object, time_zone: str, now: datetime) -> Times:
    """Return one time of ISO 8601; one without an offset is in the time zone. Errors: `Invalid`."""
    try:
        when = datetime.fromisoformat(str(text))
        at = (when if when.tzinfo else when.replace(tzinfo=ZoneInfo(time_zone))).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"{str(text)[:40]!r} is no time") from None
    if at <= now:
        raise Invalid("its time is past")
    if at - now > AHEAD_LIMIT:
        raise Invalid("its time is more than five years ahead")
    return Times(when=at.isoformat(timespec="seconds"))


def interval_times(length: object, unit: timedelta, anchor: datetime, now: datetime, *, count: int | None) -> Times:
    """Return what comes every so many units from `anchor` on, `count` times if it is one. Errors: `Invalid`."""
    try:
        step = float(str(length)) * unit
    except (ValueError, OverflowError):
        raise Invalid("it does not say how often") from None
    found = interval_repetition(step, anchor, now)
    suffix = "" if count is None else f";COUNT={count}"
    when = found.first.replace(tzinfo=None).isoformat(timespec="seconds")
    return Times(when=when, repeat=found.rule + suffix, time_zone="UTC")


def known_zone(name: object) -> str:
    """Return the name of a time zone if it is one; "" if nothing is said. Errors: `Invalid`."""
    if not name:
        return ""
    return read_zone(str(name)).key


def _name(job: Job) -> str:
    name = str(job.get("name") or job.get("id") or "a job")
    return "".join(filter(str.isprintable, name))[:60]
