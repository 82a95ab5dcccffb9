"""`subclaw policy dry-run`: what a policy would have changed about what machines asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.owners import ROWS, number_of
from subclaw.commands.policy import at
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.completion import RULE as COMPLETIONS_RULE
from subclaw.core.dry_run import RulesOf, dry_run
from subclaw.core.policy import Rule
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import applying
from subclaw.egress.starter import starter_rules
from subclaw.policy_file import read_policy
from subclaw.store.egress_log import decisions_together
from subclaw.store.egress_rules import AGENT_FILE, KeptRule, list_rules, starter_allowed
from subclaw.store.secrets import SecretSummary, list_secrets

REQUESTS = 50_000
"""Most different requests that are decided on again."""


async def dry_run_file(
    settings: Settings, console: Console, file: Path, *, tenant: str | None, days: int, as_json: bool
) -> None:
    """Say what a policy's file would change in place of `[egress]` in the agent's. Errors: `Invalid`, `NotFound`."""
    policy = read_policy(file)
    async with operator_database(settings) as operator:
        tenant_id = await number_of(operator, tenant)
        since = datetime.now(UTC) - timedelta(days=days)
        decisions = await decisions_together(operator, since=since, tenant_id=tenant_id, limit=REQUESTS)
        kept = await list_rules(operator, limit=ROWS)
        secrets = await list_secrets(operator, limit=ROWS)
        starter = await starter_allowed(operator)
    others = [each for each in kept if each.created_by != AGENT_FILE]
    now = _rules_of(kept, secrets, starter_rules() if starter else ())
    then = _rules_of(others, secrets, (*policy.rules, *(starter_rules() if policy.starter else ())))
    rows = [
        {
            "change": "stopped" if change.stopped else "let through",
            "host": change.host,
            "port": change.port,
            "method": change.method,
            "path": change.path,
            "count": change.count,
            "tenants": change.tenants,
            "last": at(change.last_at),
            "reason": change.reason,
        }
        for change in dry_run(decisions, now, then)
    ]
    none = f"That policy would have changed nothing about the requests of the last {days} days."
    show(rows, console, as_json=as_json, none=none)
    if len(decisions) == REQUESTS and not as_json:
        console.print(f"Only the {REQUESTS:,} most frequent requests were decided on again.", soft_wrap=True)


def _rules_of(kept: Sequence[KeptRule], secrets: Sequence[SecretSummary], more: Sequence[Rule]) -> RulesOf:
    """Return what gives the rules that apply to a tenant: stored ones, those of secrets, and more for all."""
    for_all = [COMPLETIONS_RULE, *(each.rule for each in kept if each.tenant_id is None), *more]

    def rules_of(tenant_id: TenantId) -> Sequence[Rule]:
        own = (each.rule for each in kept if each.tenant_id == tenant_id)
        bound = (rule for secret in applying(secrets, tenant_id) for rule in secret.binding.rules(secret.scope))
        return [*for_all, *own, *bound]

    return rules_of
