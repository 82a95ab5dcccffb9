"""Egress rules in the database: the operator's, the agent's and each tenant's own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import TupleRow

from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

AGENT_FILE = "agent.toml"
"""Who made the rules that are in the agent's file."""

RULE_LIMITS: Mapping[Scope, int] = {Scope.OPERATOR: 2_000, Scope.AGENT: 1_000, Scope.TENANT: 200}
"""Most rules of a scope, and of one tenant: a gateway keeps all of them in mind."""

_ADD = """
    SELECT add_egress_rule(
        %s::egress_scope, %s, %s, %s::integer[], %s::text[], %s::text[], %s, %s::text[], %s, %s, %s, %s)
"""

_LIST = """
    SELECT r.scope::text, r.host, r.ports, r.methods, r.paths, r.mode, r.addresses, r.comment, r.id, r.tenant_id,
           t.name, r.created_by, r.created_at, r.tools
    FROM egress_rules(%s, %s) r LEFT JOIN tenant t ON t.id = r.tenant_id ORDER BY r.scope, t.name, r.id
"""


@dataclass(frozen=True, kw_only=True)
class KeptRule:
    """A rule as it is stored. `tenant_id` is None unless it is one tenant's; `created_by` says who made it."""

    id: int
    rule: Rule
    tenant_id: TenantId | None
    tenant_name: str
    created_by: str
    created_at: datetime


async def add_rule(database: Database, rule: Rule, *, tenant_id: TenantId | None, created_by: str) -> int:
    """Store a rule and return its id. Its scope says whether `tenant_id` is to be given.

    The database is open in the operator's role, or in the application's for a rule of a tenant's own.
    Errors: `Exhausted` if there are too many, `Unavailable`.
    """
    ((id,),) = await database.rows(
        _ADD,
        rule.scope.value,
        tenant_id,
        rule.host,
        list(rule.ports),
        list(rule.methods),
        list(rule.paths),
        rule.mode.value,
        list(rule.addresses),
        rule.comment,
        created_by,
        RULE_LIMITS[rule.scope],
        rule.tools,
    )
    if id is None:
        raise Exhausted(f"There are {RULE_LIMITS[rule.scope]:,} such rules already. Remove some first.")
    return int(id)


async def remove_rule(database: Database, id: int, *, tenant_id: TenantId | None = None) -> None:
    """Remove a rule: any in the operator's role, else one that is the tenant's own and not made by the operator.

    Errors: `NotFound`, `Unavailable`.
    """
    ((gone,),) = await database.rows("SELECT remove_egress_rule(%s, %s)", tenant_id, id)
    if not gone:
        raise NotFound(f"There is no rule {id}.")


async def list_rules(database: Database, tenant_id: TenantId | None = None, *, limit: int) -> tuple[KeptRule, ...]:
    """List rules, the operator's first: all of them, or those that apply to a tenant.

    In the application's role, of a tenant's rules alone. Errors: `Unavailable`.
    """
    return tuple(map(_kept, await database.rows(_LIST, tenant_id, limit)))


async def replace_agent_rules(operator: Database, rules: Sequence[Rule], *, starter: bool) -> None:
    """Store the rules of the agent's file in place of those it had, and whether the list of subclaw's own is allowed.

    Rules that a command made for the agent stay. Errors: `Unavailable`.
    """
    rows = [
        {
            "host": rule.host,
            "ports": rule.ports,
            "methods": rule.methods,
            "paths": rule.paths,
            "mode": rule.mode,
            "comment": rule.comment,
        }
        for rule in rules
    ]
    await operator.rows("SELECT replace_agent_rules(%s::jsonb, %s)", json.dumps(rows), starter)


async def starter_allowed(operator: Database) -> bool:
    """Return whether the list of hosts that subclaw comes with is allowed. Errors: `Unavailable`."""
    ((starter,),) = await operator.rows("SELECT starter FROM egress_setting")
    return bool(starter)


def _kept(row: TupleRow) -> KeptRule:
    scope, host, ports, methods, paths, mode, addresses, comment, id, tenant_id, name, created_by, at, tools = row
    rule = Rule(
        host=host,
        ports=tuple(ports),
        methods=tuple(methods),
        paths=tuple(paths),
        mode=Mode(mode),
        addresses=tuple(addresses),
        scope=Scope(scope),
        tools=tools,
        comment=comment,
    )
    return KeptRule(
        id=id,
        rule=rule,
        tenant_id=tenant_id,
        tenant_name=name or "",
        created_by=created_by,
        created_at=at,
    )
