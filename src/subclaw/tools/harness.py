"""The tool by which an agent has its house read anew, and is told what has changed."""

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from subclaw.core.harness import RELOAD_HARNESS, Harness, NewerDefault
from subclaw.core.house import HOUSE
from subclaw.core.tool import Caller
from subclaw.tools.toolbox import Tool, define

DIFFERENCE_LIMIT_CHARACTERS = 6_000


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """A harness that was read anew, what it was before, and the newer defaults that its tenant has not been shown."""

    before: Harness
    after: Harness
    newer: tuple[NewerDefault, ...] = ()


Reload = Callable[[Caller], Awaitable[Reloaded]]
"""Reads the house of the caller's tenant anew, from the machine if that is awake."""


def harness_tools(reload: Reload) -> tuple[Tool, ...]:
    """Return the tool `reload_harness`."""

    async def reload_harness(caller: Caller, arguments: Mapping[str, Any]) -> str:
        return describe_reloaded(await reload(caller))

    return (Tool(definition=_RELOAD_HARNESS, perform=reload_harness),)


def describe_reloaded(reloaded: Reloaded) -> str:
    """Say what has changed, what is wrong, and which newer defaults there are."""
    after = reloaded.after
    tools = ", ".join(tool.definition.name for tool in after.tools) or "none"
    skills = ", ".join(skill.name for skill in after.skills) or "none"
    return "\n".join(
        [
            *(_changes(reloaded.before, after) or ["Nothing has changed."]),
            f"Tools of your own: {tools}. Skills: {skills}.",
            *(f"Cannot be used: {problem}" for problem in after.problems),
            *map(_offered, reloaded.newer),
        ]
    )


def _changes(before: Harness, after: Harness) -> list[str]:
    changed = [
        name
        for name, one, other in (
            ("system.md", before.text, after.text),
            ("memory.md", before.memory, after.memory),
        )
        if one != other
    ]
    lines = [f"Changed: {', '.join(changed)}."] if changed else []
    lines += _named("tools", {t.definition.name: t for t in before.tools}, {t.definition.name: t for t in after.tools})
    return lines + _named("skills", {s.path: s for s in before.skills}, {s.path: s for s in after.skills})


def _named(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Say which of some named things are new, gone and other than before."""
    found = {
        "New": sorted(after.keys() - before.keys()),
        "Gone": sorted(before.keys() - after.keys()),
        "Changed": sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
    }
    return [f"{how} {what}: {', '.join(names)}." for how, names in found.items() if names]


def _offered(newer: NewerDefault) -> str:
    difference = "\n".join(
        difflib.unified_diff(
            newer.own.splitlines(), newer.default.splitlines(), "yours", "newer default", lineterm="", n=1
        )
    )
    if len(difference) > DIFFERENCE_LIMIT_CHARACTERS:
        difference = f"{difference[:DIFFERENCE_LIMIT_CHARACTERS]}\n[cut]"
    return (
        f"There is a newer default of {HOUSE}/{newer.path}; yours is kept. Take from it what you like, or remove your"
        f" file to have it whole. Not shown again:\n{difference}"
    )


_RELOAD_HARNESS = define(
    RELOAD_HARNESS,
    "Have changes in /etc/subclaw count at once; learn what is wrong.",
    idempotent=True,
)
