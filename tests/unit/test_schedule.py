"""What a model is told of schedules, and how large the tool is that sets them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from subclaw.core.recurrence import Recurrence
from subclaw.core.schedule import Schedule, ScheduleMode, Schedules
from subclaw.models.demo.plays import choose_play
from subclaw.tools.schedule import describe_schedules, schedule_tools

NOW = datetime(2026, 11, 21, 9, 28, 5, tzinfo=UTC)


def test_a_list_tells_the_time_and_cuts_long_texts() -> None:
    one = Schedule(id=7, due_at=NOW + timedelta(days=1), mode=ScheduleMode.AGENT_TURN, text="a\nb " + "c" * 2000)
    told = describe_schedules([one], NOW).splitlines()
    assert told[0] == "It is now Saturday 2026-11-21T09:28:05Z."
    assert told[1].startswith("7: Sunday 2026-11-22T09:28:05Z, agent_turn: a b ccc")
    assert len(told[1]) < 130
    assert describe_schedules([], NOW).endswith("\nNothing waits.")


def test_a_list_is_in_the_persons_time_and_says_what_comes_again_and_what_went_wrong() -> None:
    daily = Recurrence(rule="FREQ=DAILY", time_zone="Europe/Berlin", wall=NOW.replace(tzinfo=None), left=3)
    one = Schedule(id=7, due_at=NOW, mode=ScheduleMode.MESSAGE, text="a")
    listed = [
        replace(one, recurrence=daily),
        replace(one, id=8, missed=True),
        replace(one, id=9, failure="over_budget"),
    ]
    told = describe_schedules(listed, NOW, ZoneInfo("Europe/Berlin")).splitlines()[1:]
    when = "Saturday 2026-11-21 10:28:05 Europe/Berlin (2026-11-21T09:28:05Z)"
    assert told == [
        f"7: {when}, then FREQ=DAILY (3 left), message: a",
        f"8: MISSED, {when}, message: a",
        f"9: FAILED (over_budget), {when}, message: a",
    ]


def test_the_tool_is_short() -> None:
    (tool,) = schedule_tools(cast(Schedules, None), lambda: NOW)
    definition = tool.definition
    function = {"name": definition.name, "description": definition.description, "parameters": definition.parameters}
    text = json.dumps({"type": "function", "function": function}, separators=(",", ":"))
    assert len(text.encode()) < 800


@pytest.mark.parametrize(
    ("wish", "when", "text", "closing"),
    [
        (
            "Remind me in 1 minute to Build a Page",
            "in 1 minute",
            "Reminder: Build a Page",
            "I will remind you in 1 minute.",
        ),
        ("please remind me in 2 hours call mum", "in 2 hours", "Reminder: call mum", "I will remind you in 2 hours."),
        ("remind me in a minute that it rains", "in 1 minute", "Reminder: it rains", "I will remind you in 1 minute."),
    ],
)
def test_the_demo_plays_a_reminder(wish: str, when: str, text: str, closing: str) -> None:
    play = choose_play(wish)
    assert play.closing == closing
    assert [(act.tool, act.arguments) for act in play.acts] == [("schedule_notification", {"when": when, "text": text})]
