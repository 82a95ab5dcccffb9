"""`subclaw agents audit` and `subclaw policy dry-run --agent`: what was decided on calls of an agent's tools."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from subclaw.business.policy import read_tool_policy
from subclaw.commands.lists import operator_database
from subclaw.commands.policy import at
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import NotFound
from subclaw.core.tool_dry_run import dry_run
from subclaw.store.tool_audit import recent_tool_decisions
from subclaw.toml_file import read_toml

DECISIONS = 50_000
"""Most decisions that are taken again."""


async def list_tool_decisions(
    settings: Settings,
    console: Console,
    agent: str,
    *,
    customer: str | None,
    only_denied: bool,
    days: int,
    limit: int,
    as_json: bool,
) -> None:
    """List decisions, the newest first; of arguments what the log has."""
    since = datetime.now(UTC) - timedelta(days=days)
    async with operator_database(settings) as operator:
        found = await recent_tool_decisions(
            operator, agent, since=since, customer=customer, only_denied=only_denied, limit=limit
        )
    rows = [
        {
            "at": at(each.decided.at),
            "customer": each.decided.customer,
            "version": each.version,
            "tool": each.decided.tool,
            "effect": each.decided.effect.value,
            "reason": each.reason,
            "arguments": each.decided.arguments or ", ".join(each.argument_names),
            "digest": each.arguments_digest[:12],
        }
        for each in found
    ]
    show(rows, console, as_json=as_json, none=f"Nothing was decided on {agent}'s tools in the last {days} days.")


async def dry_run_tools(
    settings: Settings, console: Console, agent: str, file: Path, *, days: int, as_json: bool
) -> None:
    """Say what a policy would have changed of what was decided. Errors: `Invalid`, `NotFound`."""
    text = read_toml(file)
    if text is None:
        raise NotFound(f"There is no file {file}.")
    policy = read_tool_policy({file.name: text.encode()}, file.name)
    since = datetime.now(UTC) - timedelta(days=days)
    async with operator_database(settings) as operator:
        found = await recent_tool_decisions(
            operator, agent, since=since, customer=None, only_denied=False, limit=DECISIONS
        )
    rows = [
        {
            "tool": change.tool,
            "was": change.before.value,
            "would be": change.after.value if change.after else "not known",
            "count": change.count,
            "customers": len(change.customers),
            "last": at(change.last_at),
            "reason": change.reason,
        }
        for change in dry_run(policy, (each.decided for each in found))
    ]
    none = f"That policy would have changed nothing about the {len(found):,} decisions of the last {days} days."
    show(rows, console, as_json=as_json, none=none)
    if len(found) == DECISIONS and not as_json:
        console.print(f"Only the {DECISIONS:,} newest decisions were taken again.", soft_wrap=True)
