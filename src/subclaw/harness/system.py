"""The system text of an agent: its own words, then what the host adds of skills, memory, mistakes and the day."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from subclaw.core.harness import RELOAD_HARNESS, Harness
from subclaw.core.house import HOUSE, MEMORY
from subclaw.core.machine import SITE
from subclaw.core.skill import skill_lines


def system_text(
    harness: Harness, *, name: str, url: str, now: datetime, time_zone: str = "", newer: Sequence[str] = ()
) -> str:
    """Return what an agent is told of itself. `url` is its website's address; `time_zone` is the person's, if known.

    `newer` are the paths of files in its house of which there is a newer default. What changes seldom comes first, and
    the time of day is not told: a text that changes each minute would be new to the model's cache in every turn.
    """
    parts = [harness.text.replace("{name}", name).replace("{url}", url).replace("{site}", SITE)]
    if harness.skills:
        parts.append(f"Skills; read the file before you do what it is for:\n{skill_lines(harness.skills)}")
    if harness.memory:
        parts.append(f"{HOUSE}/{MEMORY}, which you keep:\n{harness.memory}")
    if harness.problems:
        mistakes = "\n".join(f"- {problem}" for problem in harness.problems)
        parts.append(f"These files in {HOUSE} cannot be used, so what they were before serves; mend them:\n{mistakes}")
    if newer:
        parts.append(f"There is a newer default of {', '.join(newer)}: {RELOAD_HARNESS} shows the difference to yours.")
    return "\n\n".join([*parts, _day(now, time_zone)])


def _day(now: datetime, time_zone: str) -> str:
    if not time_zone:
        return f"Today is {now.astimezone(UTC):%A %Y-%m-%d} in UTC; where the person is you don't know yet."
    return f"Today is {now.astimezone(ZoneInfo(time_zone)):%A %Y-%m-%d} in {time_zone}, where the person is."
