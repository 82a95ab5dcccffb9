"""The tool that sets something for later: a message to the person, or a turn of the agent, once or again and again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.firing import zone_or_utc
from subclaw.core.message import clean_text
from subclaw.core.recurrence import (
    RULE_LIMIT_CHARACTERS,
    Recurrence,
    first_occurrence,
    later_occurrences,
    parse_recurrence,
)
from subclaw.core.schedule import (
    TEXT_LIMIT_CHARACTERS,
    IfMissed,
    Schedule,
    ScheduleMode,
    Schedules,
)
from subclaw.core.time_zone import NAME_LIMIT_CHARACTERS, read_zone, say_instant, wall_of
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.core.when import TEXT_LIMIT_CHARACTERS as WHEN_LIMIT_CHARACTERS
from subclaw.core.when import ZONE_WANTED, When, parse_when
from subclaw.tools.toolbox import Tool

LISTED_CHARACTERS = 80
"""How much of each text a list shows."""


def schedule_tools(schedules: Schedules, clock: Callable[[], datetime]) -> tuple[Tool, ...]:
    """Return the tool `schedule_notification`. `clock` tells the time, with an offset."""

    async def schedule_notification(caller: Caller, arguments: Mapping[str, Any]) -> str:
        if arguments.get("action") == "list":
            listed = await schedules.listed(caller.tenant_id)
            time_zone = await _time_zone(schedules, caller, arguments, listed.time_zone)
            return describe_schedules(listed.schedules, clock(), zone_or_utc(time_zone))
        known = await schedules.known(caller)
        if known.already:
            return _set_words(known.already, "", clock())
        time_zone = await _time_zone(schedules, caller, arguments, known.time_zone)
        if arguments.get("action") == "cancel":
            id = int(_wanted(arguments, "id"))  # a JSON integer may be written 5.0
            await schedules.cancel(caller.tenant_id, id)
            return f"Schedule {id} is cancelled."
        return await _set(schedules, caller, arguments, time_zone, clock())

    return (Tool(definition=_SCHEDULE_NOTIFICATION, perform=schedule_notification),)


async def _time_zone(schedules: Schedules, caller: Caller, arguments: Mapping[str, Any], known: str) -> str:
    """Return the person's time zone, and keep it if it is said anew. Errors: `Invalid`."""
    said = str(arguments.get("time_zone", known))
    if said != known:
        read_zone(said)
        await schedules.remember_zone(caller.tenant_id, said)
    return said


def describe_schedules(listed: Sequence[Schedule], now: datetime, zone: tzinfo = UTC) -> str:
    """Tell the time, and list schedules, a line each."""
    lines = [_line(one, zone) for one in listed]
    return "\n".join([f"It is now {say_instant(now, zone)}.", *(lines or ["Nothing waits."])])


def _line(one: Schedule, zone: tzinfo) -> str:
    again = f", then {one.recurrence.rule}" if one.recurrence else ""
    left = f" ({one.recurrence.left} left)" if one.recurrence and one.recurrence.left else ""
    state = "MISSED, " if one.missed else f"FAILED ({one.failure}), " if one.failure else ""
    return f"{one.id}: {state}{say_instant(one.due_at, zone)}{again}{left}, {one.mode}: {_begin(one.text)}"


async def _set(
    schedules: Schedules, caller: Caller, arguments: Mapping[str, Any], time_zone: str, now: datetime
) -> str:
    when, recurrence = _when(arguments, time_zone, now)
    kept = await schedules.set(
        caller,
        due_at=when.due_at,
        mode=ScheduleMode(arguments.get("mode", ScheduleMode.MESSAGE)),
        text=clean_text(_wanted(arguments, "text")),
        if_missed=IfMissed(arguments.get("if_missed", IfMissed.LATE)),
        time_zone=time_zone,
        recurrence=recurrence,
    )
    return _set_words(kept, when.note, now)


def _when(arguments: Mapping[str, Any], time_zone: str, now: datetime) -> tuple[When, Recurrence | None]:
    """Return when it is due first, and what it comes again by. Errors: `Invalid`."""
    zone = read_zone(time_zone) if time_zone else None
    when = parse_when(_wanted(arguments, "when"), now=now, zone=zone)
    if "repeat" not in arguments:
        return when, None
    if zone is None:
        raise Invalid(ZONE_WANTED)
    begin = wall_of(when.due_at, zone)
    start = parse_recurrence(arguments["repeat"], begin=begin, time_zone=time_zone)
    first = first_occurrence(start, now)
    return When(due_at=first.due_at, note=when.note), first.recurrence


def _set_words(kept: Schedule, note: str, now: datetime) -> str:
    zone = zone_or_utc(kept.time_zone)
    told = f"Set: schedule {kept.id}, due {say_instant(kept.due_at, zone)}."
    if kept.recurrence:
        later = [say_instant(one.due_at, zone) for one in islice(later_occurrences(kept.recurrence), 1)]
        told += f" After that: {later[0] if later else 'never'}."
    return f"{told}{f' ({note}.)' if note else ''} It is now {say_instant(now, zone)}."


def _wanted(arguments: Mapping[str, Any], name: str) -> Any:
    if name not in arguments:
        raise Invalid(f"{name} is missing.")
    return arguments[name]


def _begin(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LISTED_CHARACTERS else f"{line[: LISTED_CHARACTERS - 1]}…"


_SCHEDULE_NOTIFICATION = ToolDefinition(
    name="schedule_notification",
    description=("For later: the person gets text (message), or you wake to act on it (agent_turn)."),
    parameters={
        "type": "object",
        "properties": {
            "action": {"enum": ["set", "list", "cancel"]},
            "text": {"type": "string", "minLength": 1, "maxLength": TEXT_LIMIT_CHARACTERS},
            "when": {
                "type": "string",
                "maxLength": WHEN_LIMIT_CHARACTERS,
                "description": "in 20 minutes; tomorrow at 9; 2030-01-31 09:00",
            },
            "repeat": {"type": "string", "maxLength": RULE_LIMIT_CHARACTERS, "description": "RRULE"},
            "mode": {"enum": [mode.value for mode in ScheduleMode]},
            "if_missed": {"enum": [choice.value for choice in IfMissed]},
            "time_zone": {
                "type": "string",
                "maxLength": NAME_LIMIT_CHARACTERS,
                "description": "IANA, of the person",
            },
            "id": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
        },
        "additionalProperties": False,
    },
    idempotent=True,
)
