"""The system text of an agent."""

from functools import cache
from importlib.resources import files

from subclaw.core.machine import SITE


def system_text(*, name: str, url: str) -> str:
    """Return what an agent is told of itself. `url` is its website's address."""
    return _default().replace("{name}", name).replace("{url}", url).replace("{site}", SITE)


@cache
def _default() -> str:
    return (files("subclaw.harness") / "defaults" / "system.md").read_text(encoding="utf-8").strip()
