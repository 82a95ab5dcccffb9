"""The list of hosts that subclaw comes with: registries, git hosts, search and reference.

It is a policy as `policy_file` has it, and is read here without what that needs: the gateway keeps its memory small.
"""

import tomllib
from functools import cache
from importlib.resources import files

from subclaw.core.agent import AgentSettings
from subclaw.core.policy import HTTPS_PORT, Rule, Scope

FILE = files("subclaw.egress") / "starter.toml"


@cache
def starter_rules() -> tuple[Rule, ...]:
    """Return the rules of the list, which all allow something. They are the agent's, as the list is on by its file."""
    return tuple(
        Rule(
            host=entry["host"],
            ports=tuple(entry.get("ports", (HTTPS_PORT,))),
            methods=tuple(entry.get("methods", ())),
            paths=tuple(entry.get("paths", ())),
            scope=Scope.AGENT,
            comment=entry["comment"],
        )
        for entry in tomllib.loads(FILE.read_text(encoding="utf-8"))["allow"]
    )


def starter_rules_of(agent: AgentSettings) -> tuple[Rule, ...]:
    """Return the rules of the list, unless the agent's file does without them."""
    return starter_rules() if agent.egress.starter else ()
