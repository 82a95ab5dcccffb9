"""The plays: for what a person may ask in a demo, the tool calls that answer it and the closing words."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from subclaw.core.machine import SITE
from subclaw.core.service_words import SERVICES


@dataclass(frozen=True, kw_only=True)
class Act:
    """One tool call; `expect` is a pattern that its result shows if it went well."""

    tool: str
    arguments: Mapping[str, Any]
    expect: str


@dataclass(frozen=True, kw_only=True)
class Play:
    """Tool calls in order, then words.

    `{url}` in them becomes the address that was published, `{result}` what the last call gave.
    """

    closing: str
    acts: tuple[Act, ...] = field(default=())


def choose_play(wish: str) -> Play:
    """Return the play for a person's message."""
    words = wish.lower()
    if reminder := re.search(r"remind me in (an?|\d{1,5}) (minute|hour)s? (?:to |that )?(.+)", wish, re.I | re.S):
        return _reminder_play(*reminder.groups())
    if "invoice" in words:
        return _site_play("Your invoice generator is live at {url}", _page("invoice.html"))
    if re.search(r"\b(clock|server|dynamic)\b", words):
        return _clock_play()
    if re.search(r"\b(build|make|create|page|site|website|shop|landing)\b", words):
        page = _page("words.html").replace("{words}", html.escape(wish[:500]))
        return _site_play("Your page is live at {url} (with a real model it would be designed for you)", page)
    return Play(
        closing=(
            "Hello! I am a scripted stand-in, because no model key is set up yet. "
            'Say "build me an invoice generator" and I will build one on a machine of your own and put it live.'
        )
    )


def _site_play(closing: str, page: str) -> Play:
    index = f"{SITE}/index.html"
    return Play(
        closing=closing,
        acts=(
            Act(tool="write_file", arguments={"path": index, "content": page}, expect="^Wrote "),
            Act(tool="shell_exec", arguments={"command": f"ls -l {SITE}"}, expect=r"index\.html"),
            Act(tool="publish_site", arguments={"folder": SITE}, expect="^Live at "),
        ),
    )


def _reminder_play(amount: str, unit: str, what: str) -> Play:
    count = int(amount) if amount.isdecimal() else 1
    ahead = f"in {count} {unit.lower()}{'' if count == 1 else 's'}"
    arguments = {"when": ahead, "text": f"Reminder: {what.strip()[:500]}"}
    return Play(
        closing=f"I will remind you {ahead}.",
        acts=(Act(tool="schedule_notification", arguments=arguments, expect="^Set"),),
    )


def _clock_play() -> Play:
    program = "/home/agent/clock.py"
    service = json.dumps([{"name": "clock", "command": f"exec python3 {program}", "port": 8000}])
    look = "curl -s --retry 30 --retry-connrefused --retry-delay 1 localhost:8000"
    return Play(
        closing="Your clock is live at {url}, served by your own machine",
        acts=(
            Act(tool="write_file", arguments={"path": program, "content": _page("clock.py")}, expect="^Wrote "),
            Act(tool="write_file", arguments={"path": SERVICES, "content": service}, expect="^Wrote "),
            Act(tool="shell_exec", arguments={"command": look}, expect="clock"),
            Act(tool="publish_site", arguments={"port": 8000}, expect="^Live at "),
        ),
    )


def _page(name: str) -> str:
    return (files("subclaw.models.demo") / "pages" / name).read_text(encoding="utf-8")
