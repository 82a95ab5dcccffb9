"""The system text of an agent."""

from datetime import date
from functools import cache
from importlib.resources import files

from subclaw.core.machine import SITE


def system_text(*, name: str, url: str, today: date) -> str:
    """Return what an agent is told of itself. `url` is its website's address, `today` the date in UTC.

    The time of day is not told: a text that changes each minute would be new to the model's cache in every turn.
    """
    text = _default().replace("{name}", name).replace("{url}", url).replace("{site}", SITE)
    return text.replace("{today}", f"{today:%A %Y-%m-%d}")


@cache
def _default() -> str:
    return (files("subclaw.harness") / "defaults" / "system.md").read_text(encoding="utf-8").strip()
