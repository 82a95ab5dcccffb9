"""A Hermes home (`~/.hermes`) as a house.

Facts from the package `hermes-agent`: SOUL.md is the persona, `memories/` holds entries with lines of `§` between them,
`skills/` has folders by category and names those that come with the program, `cron/jobs.json` has the jobs.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from subclaw.core.errors import Invalid
from subclaw.harness.imports.draft import Brought, Draft
from subclaw.harness.imports.jobs import (
    Job,
    Times,
    cron_times,
    interval_times,
    jobs_of,
    known_zone,
    one_time,
    put_reminders,
)
from subclaw.harness.imports.skills import put_skills
from subclaw.harness.imports.texts import put_memory, put_system

ORIGIN = "a Hermes home"
PERSONA = ("SOUL.md",)
KNOWLEDGE = ("memories/USER.md", "memories/MEMORY.md")
SETTINGS = "config.yaml"
JOBS = "cron/jobs.json"
SHIPPED = "skills/.bundled_manifest"

COUNT_LIMIT = 100_000
"""How often a reminder may come that does not come for ever."""

_ENTRY_END = "\n§\n"
_ZONE = re.compile(r"^timezone:\s{0,4}[\"']?([A-Za-z0-9_/+-]{1,64})[\"']?\s*(?:#.*)?$", re.MULTILINE)


def is_hermes(paths: Collection[str]) -> bool:
    """Tell whether these are the paths of a Hermes home."""
    return any(path in paths for path in (*KNOWLEDGE, SHIPPED)) or (SETTINGS in paths and "SOUL.md" in paths)


def import_hermes(draft: Draft, now: datetime, time_zone: str = "") -> Brought:
    """Make a house of a Hermes home. `now` is the time in UTC, `time_zone` the tenant's, if any."""
    put_system(draft, list(PERSONA), origin=ORIGIN)
    put_memory(draft, list(KNOWLEDGE), [], entries=_ENTRY_END)
    shipped = {line.partition(":")[0].strip() for line in (draft.text(SHIPPED) or "").splitlines()}
    put_skills(draft, below=["skills"], shipped=shipped, program="Hermes")
    said = _time_zone(draft)
    for source, job in jobs_of(draft, JOBS):
        _put_job(draft, source, job, now, said or time_zone)
    return draft.finish(ORIGIN, time_zone=said)


def _time_zone(draft: Draft) -> str:
    """Return what the settings say of the time zone. They may hold secrets: no more is read."""
    if SETTINGS not in draft.found:
        return ""
    draft.leave_out(SETTINGS, "its settings are not an agent's own, but for the time zone")
    said = _ZONE.search(draft.found[SETTINGS].decode("utf-8", "replace"))
    try:
        return known_zone(said and said[1])
    except Invalid:
        return ""


def _put_job(draft: Draft, source: str, job: Job, now: datetime, time_zone: str) -> None:
    try:
        text = _text(job)
        times = _times(job, now, time_zone or "UTC")
    except Invalid as error:
        draft.leave_out(source, error.public)
        return
    put_reminders(draft, source, text, times)


def _text(job: Job) -> str:
    """Return what a job has its agent do. Errors: `Invalid` for one that is no such job."""
    if job.get("enabled") is False or job.get("state") in ("paused", "completed"):
        raise Invalid("it is switched off")
    if job.get("script") or job.get("no_agent"):
        raise Invalid("it runs a script: have the agent set it up on its machine")
    if job.get("context_from"):
        raise Invalid("it goes on from what another job said, which no reminder can")
    prompt, skills = job.get("prompt"), job.get("skills")
    named = ", ".join(skill for skill in skills if isinstance(skill, str)) if isinstance(skills, list) else ""
    text = prompt if isinstance(prompt, str) else ""
    return f"{text}\n\nUse these skills: {named}." if named else text


def _times(job: Job, now: datetime, time_zone: str) -> tuple[Times, ...]:
    """Return when a job happens. Errors: `Invalid`."""
    schedule = job.get("schedule")
    if not isinstance(schedule, dict):
        raise Invalid("it does not say when")
    match schedule.get("kind"):
        case "once":
            return (one_time(schedule.get("run_at"), time_zone, now),)
        case "interval":
            return (_interval(job, schedule.get("minutes"), now, time_zone),)
        case "cron":
            return cron_times(schedule.get("expr"), time_zone, now, count=_left(job))
    raise Invalid("it does not say when")


def _interval(job: Job, minutes: object, now: datetime, time_zone: str) -> Times:
    try:
        anchor = datetime.fromisoformat(one_time(job.get("next_run_at"), time_zone, now).when).astimezone(UTC)
    except Invalid:  # it was due while nothing ran
        anchor = now.replace(second=0, microsecond=0)
    return interval_times(minutes, timedelta(minutes=1), anchor, now, count=_left(job))


def _left(job: Job) -> int | None:
    """Return how often a job is still to happen; None for ever. Errors: `Invalid` if it is over."""
    repeat = job.get("repeat")
    times, completed = (repeat.get("times"), repeat.get("completed")) if isinstance(repeat, dict) else (None, None)
    if not isinstance(times, int):
        return None
    left = times - (completed if isinstance(completed, int) else 0)
    if not 1 <= left <= COUNT_LIMIT:
        raise Invalid("it has happened as often as it should, or comes too often")
    return left
