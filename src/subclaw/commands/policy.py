"""`subclaw policy`: which hosts machines may reach, what was decided, and what each tenant may use."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.owners import ROWS, Owner, denials, number_of
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import Invalid
from subclaw.core.policy import Mode, Rule
from subclaw.core.policy_words import checked_rule
from subclaw.core.quota import Quota
from subclaw.egress.starter import starter_rules
from subclaw.store.egress_log import KEPT_DAYS, recent_decisions
from subclaw.store.egress_quotas import quota_setting, set_quota
from subclaw.store.egress_rules import add_rule, list_rules, remove_rule, starter_allowed

DEFAULT = "default"
"""What resets a quota."""

MOST = {"requests_per_minute": 2**31 - 1, "connections": 2**31 - 1, "bytes_per_day": 2**63 - 1}

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


async def list_policy(settings: Settings, console: Console, *, tenant: str | None, as_json: bool) -> None:
    """List the rules: all of them, or those that apply to a tenant. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        found = await list_rules(operator, await number_of(operator, tenant), limit=ROWS)
        starter = await starter_allowed(operator)
    rows = [
        {
            "id": kept.id,
            "scope": kept.rule.scope.value,
            "tenant": kept.tenant_name,
            "mode": kept.rule.mode.value,
            "host": kept.rule.host,
            "ports": ", ".join(map(str, kept.rule.ports)),
            "methods": ", ".join(kept.rule.methods),
            "paths": ", ".join(kept.rule.paths),
            "at": ", ".join(kept.rule.addresses),
            "tools": kept.rule.tools,
            "by": kept.created_by,
            "comment": kept.rule.comment,
        }
        for kept in found
    ]
    show(rows, console, as_json=as_json, none="There are no rules.")
    if not as_json:
        hosts = len({rule.host for rule in starter_rules()})
        state = f"is allowed, {hosts} hosts" if starter else "is not allowed"
        _print(console, f"The list that subclaw comes with {state}: `starter` in agent.toml says so.")


async def add(settings: Settings, console: Console, rule: Rule, owner: Owner) -> None:
    """Add a rule. Errors: `Invalid`, `NotFound`, `Exhausted`."""
    checked = checked_rule(replace(rule, scope=owner.scope, tools=owner.tools))
    async with operator_database(settings) as operator:
        tenant_id = await number_of(operator, owner.tenant)
        denied = () if rule.mode is Mode.DENY else await denials(operator, tenant_id, [checked])
        id = await add_rule(operator, checked, tenant_id=tenant_id, created_by="operator")
    done = "denied" if rule.mode is Mode.DENY else f"allowed ({checked.mode})"
    _print(console, f"{checked.host} is {done} for {owner}: rule {id}.")
    for line in denied:
        _print(console, line)


async def remove(settings: Settings, console: Console, id: int) -> None:
    """Remove a rule. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        await remove_rule(operator, id)
    _print(console, f"Rule {id} is removed.")


async def list_log(
    settings: Settings,
    console: Console,
    *,
    tenant: str | None,
    only_denied: bool,
    since: timedelta,
    limit: int,
    as_json: bool,
) -> None:
    """List what was decided, the newest first; equal decisions of an hour are one line. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        found = await recent_decisions(
            operator,
            since=datetime.now(UTC) - since,
            tenant_id=await number_of(operator, tenant),
            only_denied=only_denied,
            limit=limit,
        )
    rows = [
        {
            "last": at(logged.decision.last_at),
            "tenant": logged.tenant_name,
            "allowed": logged.decision.allowed,
            "mode": logged.decision.mode,
            "host": logged.decision.host,
            "port": logged.decision.port,
            "method": logged.decision.method,
            "path": logged.decision.path,
            "count": logged.decision.count,
            "sent_bytes": logged.decision.sent_bytes,
            "received_bytes": logged.decision.received_bytes,
            "reason": logged.decision.reason,
        }
        for logged in found
    ]
    show(rows, console, as_json=as_json, none="Nothing was asked for in that time.")


async def quota(settings: Settings, console: Console, *, tenant: str | None, change: Sequence[tuple[str, str]]) -> None:
    """Change what a tenant may use, or each that has nothing of its own, and say what that is now.

    `change` has names of a quota's fields with numbers, or `default`. Errors: `Invalid`, `NotFound`.
    """
    wanted = {name: _amount(name, text) for name, text in change}
    async with operator_database(settings) as operator:
        tenant_id = await number_of(operator, tenant)
        setting = replace(await quota_setting(operator, tenant_id), **wanted)
        if wanted:
            await set_quota(operator, tenant_id, setting)
        everybodys = (await quota_setting(operator, None)).over(Quota())
    own = setting.over(everybodys) if tenant else everybodys
    whose = f"the tenant {tenant}" if tenant else "each tenant that has no quota of its own"
    _print(
        console,
        f"For {whose}: {own.requests_per_minute:,} requests a minute, {own.connections:,} connections at a time, "
        f"{own.bytes_per_day:,} bytes a day.",
    )


def parse_mode(text: str) -> Mode:
    """Return how an allowed host is treated. Errors: `Invalid`."""
    if text not in (Mode.INJECT, Mode.INSPECT, Mode.SPLICE):
        raise Invalid(f"The mode is inspect, splice or inject, not {text!r}.")
    return Mode(text)


def parse_since(text: str) -> timedelta:
    """Return a time span from words such as 90m, 24h or 7d. Errors: `Invalid`."""
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    since = int(found[1]) * _UNITS[found[2]] if found else timedelta()
    if not timedelta() < since <= timedelta(days=KEPT_DAYS):
        raise Invalid(f"{text!r} is no time up to {KEPT_DAYS} days, such as 90m, 24h or 7d.")
    return since


def at(time: datetime) -> str:
    """Return a time as lists show it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _amount(name: str, text: str) -> int | None:
    if text == DEFAULT:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > MOST[name]:
        raise Invalid(f"{text!r} is no whole number for {name.replace('_', ' ')}; `{DEFAULT}` takes back what was set.")
    return int(text)


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)
