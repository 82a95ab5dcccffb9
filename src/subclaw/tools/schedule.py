"""The tool that sets something for later: a message to the person, or a turn of the agent."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.message import clean_text
from subclaw.core.schedule import (
    TEXT_LIMIT_CHARACTERS,
    Schedule,
    ScheduleMode,
    Schedules,
    parse_when,
    say_instant,
)
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.tools.toolbox import Tool

LISTED_CHARACTERS = 80
"""How much of each text a list shows."""


def schedule_tools(schedules: Schedules, clock: Callable[[], datetime]) -> tuple[Tool, ...]:
    """Return the tool `schedule_notification`. `clock` tells the time, with an offset."""

    async def schedule_notification(caller: Caller, arguments: Mapping[str, Any]) -> str:
        match arguments.get("action", "set"):
            case "list":
                return describe_schedules(await schedules.pending(caller.tenant_id), clock())
            case "cancel":
                id = int(_wanted(arguments, "id"))  # a JSON integer may be written 5.0
                await schedules.cancel(caller.tenant_id, id)
                return f"Schedule {id} is cancelled."
            case _:
                return await _set(schedules, caller, arguments, clock())

    return (Tool(definition=_SCHEDULE_NOTIFICATION, perform=schedule_notification),)


def describe_schedules(pending: Sequence[Schedule], now: datetime) -> str:
    """Tell the time, and list what waits, a line each."""
    lines = [f"{one.id}: {say_instant(one.due_at)}, {one.mode}: {_begin(one.text)}" for one in pending]
    return "\n".join([f"It is now {say_instant(now)}.", *(lines or ["Nothing waits."])])


async def _set(schedules: Schedules, caller: Caller, arguments: Mapping[str, Any], now: datetime) -> str:
    due_at = parse_when(in_minutes=arguments.get("in_minutes"), at=arguments.get("at"), now=now)
    mode = ScheduleMode(arguments.get("mode", ScheduleMode.MESSAGE))
    text = clean_text(_wanted(arguments, "text"))
    kept = await schedules.set(caller, due_at=due_at, mode=mode, text=text)
    return f"Set: schedule {kept.id}, due {say_instant(kept.due_at)}. It is now {say_instant(now)}."


def _wanted(arguments: Mapping[str, Any], name: str) -> Any:
    if name not in arguments:
        raise Invalid(f"{name} is missing.")
    return arguments[name]


def _begin(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LISTED_CHARACTERS else f"{line[: LISTED_CHARACTERS - 1]}…"


_SCHEDULE_NOTIFICATION = ToolDefinition(
    name="schedule_notification",
    description=(
        "Set something for later, once: the person gets text as it is (message), or you are woken with it to act "
        "(agent_turn). Say when by in_minutes or at. Also lists what waits and cancels by id."
    ),
    parameters={
        "type": "object",
        "properties": {
            "action": {"enum": ["set", "list", "cancel"], "default": "set"},
            "text": {"type": "string", "minLength": 1, "maxLength": TEXT_LIMIT_CHARACTERS},
            "in_minutes": {"type": "number"},
            "at": {"type": "string", "maxLength": 40, "description": "ISO 8601 with offset"},
            "mode": {"enum": [mode.value for mode in ScheduleMode], "default": "message"},
            "id": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
        },
        "additionalProperties": False,
    },
    idempotent=True,
)
