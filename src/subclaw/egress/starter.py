"""The list of hosts that subclaw comes with: registries, git hosts, search and reference."""

from functools import cache
from importlib.resources import files

from subclaw.core.policy import Rule
from subclaw.policy_file import parse_policy


@cache
def starter_rules() -> tuple[Rule, ...]:
    """Return the rules of the list, which all allow something."""
    return parse_policy((files("subclaw.egress") / "starter.toml").read_text(encoding="utf-8")).rules
