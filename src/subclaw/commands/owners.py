"""Whose a rule or a secret is, as a command is told: everybody's, the agent's or a tenant's; and what denies it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from subclaw.core.errors import Invalid
from subclaw.core.policy import Mode, Rule, Scope, host_matches
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.egress_rules import list_rules
from subclaw.store.tenants import tenant_number

ROWS = 100_000
"""Most rules or secrets that a command looks at."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose something is; `tenant` is a tenant's name, and empty unless it is one's.

    With `tools`, the id of a business's agent, it is the operator's, for what that agent's tools call and nothing else.
    """

    scope: Scope
    tenant: str = ""
    tools: str = ""

    def __str__(self) -> str:
        if self.tools:
            return f"the tools of {self.tools}"
        return {
            Scope.OPERATOR: "all tenants",
            Scope.AGENT: "the agent",
            Scope.TENANT: f"the tenant {self.tenant}",
        }[self.scope]


def parse_owner(tenant: str | None, agent: bool, tools: str | None = None) -> Owner:
    """Return whose it is from the options of a command. Errors: `Invalid`."""
    if sum(map(bool, (tenant, agent, tools))) > 1:
        raise Invalid("Say one of --tenant, --agent and --tools.")
    if tools:
        return Owner(scope=Scope.OPERATOR, tools=tools)
    if tenant:
        return Owner(scope=Scope.TENANT, tenant=tenant)
    return Owner(scope=Scope.AGENT if agent else Scope.OPERATOR)


async def number_of(operator: Database, tenant: str | None) -> TenantId | None:
    """Return a tenant's number, if one is named. Errors: `NotFound`."""
    return await tenant_number(operator, tenant) if tenant else None


async def denials(operator: Database, tenant_id: TenantId | None, rules: Sequence[Rule]) -> tuple[str, ...]:
    """Say of each stored rule that denies what these rules allow, all of it or some, that it does so."""
    found = await list_rules(operator, tenant_id, limit=ROWS)
    denying = [kept for kept in found if kept.rule.mode is Mode.DENY and kept.tenant_id in (None, tenant_id)]
    return tuple(
        f"Rule {kept.id} denies {_what(kept.rule, rule)}, whatever is allowed: subclaw policy remove {kept.id}"
        for kept in denying
        for rule in _denied(kept.rule, rules)
    )


def words(texts: Sequence[str]) -> str:
    """Return texts as a list in a sentence."""
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def split(text: str | None) -> tuple[str, ...]:
    """Return the parts of an option that are divided by commas."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def parse_ports(text: str | None, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ports of an option. Errors: `Invalid`."""
    parts = split(text)
    wrong = next((part for part in parts if not (part.isascii() and part.isdecimal() and len(part) < 6)), None)
    if wrong is not None:
        raise Invalid(f"{wrong!r} is no port, such as 443.")
    return tuple(map(int, parts)) or usual


def _denied(denying: Rule, rules: Sequence[Rule]) -> Iterator[Rule]:
    for rule in rules:
        if set(rule.ports) & set(denying.ports) and _covers(denying.host, rule.host):
            yield rule


def _covers(pattern: str, other: str) -> bool:
    """Return whether a pattern of hosts is about all that another is about."""
    if other.startswith("*."):
        return pattern == other or (pattern.startswith("*.") and other[1:].endswith(pattern[1:]))
    return host_matches(pattern, other)


def _what(denying: Rule, rule: Rule) -> str:
    return f"some requests to {rule.host}" if denying.restricted else rule.host
