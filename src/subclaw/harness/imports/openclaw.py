"""An OpenClaw workspace, or the state folder (`~/.openclaw`) that it lies in, as a house.

Facts from its documentation of the workspace (https://docs.openclaw.ai/concepts/agent-workspace) and of its jobs
(https://docs.openclaw.ai/automation/cron-jobs). Versions from 2026.6 on keep jobs in a database of their own.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

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

ORIGIN = "an OpenClaw workspace"
WORKSPACE = "workspace/"
JOBS = "cron/jobs.json"
SETTINGS = "openclaw.json"
PERSONA = ("IDENTITY.md", "SOUL.md", "AGENTS.md", "TOOLS.md")
KNOWLEDGE = ("USER.md", "MEMORY.md")
NOT_HERE = {
    "HEARTBEAT.md": "there is no heartbeat here: have a reminder set for what it asks for",
    "BOOTSTRAP.md": "it is for a first meeting, which is over",
    "BOOT.md": "nothing here runs at a start",
}

_NOTE = re.compile(r"memory/[0-9]{4}-[0-9]{2}-[0-9]{2}[^/]*\.md")
_ZONE = re.compile(r"\"?userTimezone\"?\s{0,4}:\s{0,4}[\"']([A-Za-z0-9_/+-]{1,64})[\"']")


def is_openclaw(paths: Collection[str]) -> bool:
    """Tell whether these are the paths of a workspace or of a state folder."""
    marks = (*PERSONA, *KNOWLEDGE)
    return any(mark in paths or WORKSPACE + mark in paths for mark in marks) or SETTINGS in paths


def import_openclaw(draft: Draft, now: datetime, time_zone: str = "") -> Brought:
    """Make a house of a workspace or a state folder. `now` is the time in UTC, `time_zone` the tenant's, if any."""
    workspace = WORKSPACE if any(path.startswith(WORKSPACE) for path in draft.found) else ""
    put_system(draft, [workspace + name for name in PERSONA], origin=ORIGIN)
    notes = sorted(path for path in draft.found if _NOTE.fullmatch(path.removeprefix(workspace)))
    put_memory(draft, [workspace + name for name in KNOWLEDGE], notes)
    put_skills(draft, below=list(dict.fromkeys([f"{workspace}skills", "skills"])))
    for name, why in NOT_HERE.items():
        if workspace + name in draft.found:
            draft.leave_out(workspace + name, why)
    said = _time_zone(draft)
    for source, job in jobs_of(draft, JOBS):
        _put_job(draft, source, job, now, said or time_zone)
    if JOBS not in draft.found:
        draft.leave_out(
            "reminders",
            f"there is no {JOBS}: import the folder ~/.openclaw; newer versions give theirs by "
            f"`openclaw automations list --all --json > ~/.openclaw/{JOBS}`",
        )
    return draft.finish(ORIGIN, time_zone=said)


def _time_zone(draft: Draft) -> str:
    """Return what the settings say of the person's time zone. They are JSON5, and hold secrets: no more is read."""
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
        times = _times(job.get("schedule"), now, time_zone)
    except Invalid as error:
        draft.leave_out(source, error.public)
        return
    put_reminders(draft, source, text, times)


def _text(job: Job) -> str:
    """Return what a job has its agent do. Errors: `Invalid` for one that is no such job."""
    if job.get("enabled") is False:
        raise Invalid("it is switched off")
    if job.get("trigger"):
        raise Invalid("a script of its own says when it happens, which no reminder can")
    payload = job.get("payload")
    text = payload.get("text") or payload.get("message") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or payload.get("kind") not in ("systemEvent", "agentTurn"):
        raise Invalid("it runs a command or a script: have the agent set it up on its machine")
    return text if isinstance(text, str) else ""


def _times(schedule: Any, now: datetime, time_zone: str) -> tuple[Times, ...]:
    """Return when a job happens. Errors: `Invalid`."""
    if not isinstance(schedule, dict):
        raise Invalid("it does not say when")
    zone = known_zone(schedule.get("tz"))
    match schedule.get("kind"):
        case "at":
            return (one_time(_at(schedule), zone or "UTC", now),)
        case "every":
            return (_interval(schedule, now),)
        case "cron":
            return cron_times(_without_seconds(schedule.get("expr")), zone or time_zone or "UTC", now)
    raise Invalid("it happens at events, not at times")


def _at(schedule: dict[str, Any]) -> object:
    """Return one time; older versions wrote it in milliseconds."""
    at_ms = schedule.get("atMs")
    return schedule.get("at") if at_ms is None else _instant(at_ms).isoformat()


def _interval(schedule: dict[str, Any], now: datetime) -> Times:
    anchor_ms = schedule.get("anchorMs")
    anchor = now.replace(second=0, microsecond=0) if anchor_ms is None else _instant(anchor_ms)
    return interval_times(schedule.get("everyMs"), timedelta(milliseconds=1), anchor, now, count=None)


def _instant(milliseconds: object) -> datetime:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=float(str(milliseconds)))
    except (ValueError, OverflowError):
        raise Invalid("it has a time that is none") from None


def _without_seconds(expression: object) -> object:
    """Return a cron expression without the second 0, which a first field of six may say."""
    fields = expression.split() if isinstance(expression, str) else []
    return " ".join(fields[1:]) if len(fields) == 6 and fields[0] == "0" else expression
