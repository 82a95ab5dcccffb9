"""The policy of a business agent's tools: what a call may be, decided on values alone, with a reason.

Every rule whose pattern is of the tool applies, and the strictest wins: what one denies, none allows. Where no rule is
about a tool, the policy's own effect holds. The decision is the host's: nothing that a model writes is part of it but
the tool's name and the arguments, and those are what is performed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

from subclaw.core.tool_constraint import Constraint, as_number, holds, look_up


class Effect(StrEnum):
    """What becomes of a call."""

    ALLOW = "allow"
    APPROVE = "approve"
    DENY = "deny"


_STRICTNESS = (Effect.ALLOW, Effect.APPROVE, Effect.DENY)


class Scope(StrEnum):
    """Whose calls a limit counts: one customer's, or those of all customers of the agent."""

    CUSTOMER = "customer"
    AGENT = "agent"


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Opening hours: on these days (Monday is 0) from a time up to another; that of the next day if it is not later."""

    days: frozenset[int]
    begin: time
    end: time


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much there may be in a window: calls, or with `path` the sum of an argument.

    The window is the last `seconds`, or the day of the policy's time zone if they are 0.
    """

    scope: Scope
    most: Decimal
    seconds: int = 0
    path: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ToolRule:
    """A rule for the tools of a pattern (`refund`, `mail_*`), which share its limits."""

    pattern: str
    effect: Effect = Effect.ALLOW
    require: tuple[Constraint, ...] = ()
    approve_if: tuple[Constraint, ...] = ()
    hours: tuple[Hours, ...] = ()
    limits: tuple[Limit, ...] = ()
    comment: str = ""

    def is_about(self, tool: str) -> bool:
        """Return whether the rule applies to a tool."""
        return fnmatchcase(tool, self.pattern)


@dataclass(frozen=True, kw_only=True)
class ToolPolicy:
    """A policy. `keeps_arguments` says that the audit log has the arguments of calls in the clear."""

    default: Effect = Effect.ALLOW
    time_zone: str = "UTC"
    rules: tuple[ToolRule, ...] = ()
    keeps_arguments: bool = False

    def rules_for(self, tool: str) -> tuple[ToolRule, ...]:
        """Return the rules that apply to a tool."""
        return tuple(rule for rule in self.rules if rule.is_about(tool))


@dataclass(frozen=True, kw_only=True)
class Window:
    """What is to be counted for a limit: allowed calls of these tools since then, or the sum of an argument of them."""

    scope: Scope
    tools: tuple[str, ...]
    since: datetime
    path: tuple[str, ...] = ()


Usage = Mapping[Window, Decimal]
"""How much there was in windows before the call that is decided on."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A call that is decided on. `binding` is the session's; `tools` are the names of all of the agent's tools."""

    tool: str
    arguments: Mapping[str, Any]
    binding: Mapping[str, Any]
    now: datetime
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of a call, and why. `reason` holds nothing of the arguments or the binding: the model reads it."""

    effect: Effect
    reason: str


ALLOWED = Decision(effect=Effect.ALLOW, reason="no rule is against it")


def windows(policy: ToolPolicy, asked: Asked) -> tuple[Window, ...]:
    """Return what has to be counted before a call can be decided on, each once."""
    found = [_window(policy, rule, limit, asked) for rule in policy.rules_for(asked.tool) for limit in rule.limits]
    return tuple(dict.fromkeys(found))


def amounts(policy: ToolPolicy, tool: str, arguments: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return the numbers among a call's arguments that limits of its rules sum up, by their paths."""
    paths = {limit.path for rule in policy.rules_for(tool) for limit in rule.limits if limit.path}
    numbers = {".".join(path): as_number(look_up(arguments, path)[1]) for path in paths}
    return {path: number for path, number in numbers.items() if number is not None}


def decide(policy: ToolPolicy, asked: Asked, usage: Usage) -> Decision:
    """Decide on a call. `usage` has what `windows` asks for; what it lacks counts as nothing."""
    rules = policy.rules_for(asked.tool)
    if not rules:
        return _by_default(policy)
    decisions = [_decide_rule(policy, rule, asked, usage) for rule in rules]
    return max(decisions, key=lambda decision: _STRICTNESS.index(decision.effect))


def must_be_approved(policy: ToolPolicy, tool: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a person has to say yes to a call, unless it is denied. Whether they must, no session decides."""
    rules = policy.rules_for(tool)
    if not rules:
        return policy.default is Effect.APPROVE
    return any(rule.effect is Effect.APPROVE or _asks(rule, arguments) is not None for rule in rules)


def _by_default(policy: ToolPolicy) -> Decision:
    if policy.default is Effect.ALLOW:
        return ALLOWED
    return Decision(effect=policy.default, reason="no rule is about this tool")


def _decide_rule(policy: ToolPolicy, rule: ToolRule, asked: Asked, usage: Usage) -> Decision:
    if rule.effect is Effect.DENY:
        return _denied("this tool is denied")
    for constraint in rule.require:
        if not holds(constraint, asked.arguments, asked.binding):
            return _denied(f"it is required that {constraint.text}")
    if rule.hours and not is_open(rule.hours, asked.now.astimezone(ZoneInfo(policy.time_zone))):
        return _denied("it is not possible at this hour")
    for limit in rule.limits:
        if problem := _over(policy, rule, limit, asked, usage):
            return _denied(problem)
    if rule.effect is Effect.APPROVE:
        return Decision(effect=Effect.APPROVE, reason="a person has to approve this tool")
    if (asks := _asks(rule, asked.arguments)) is not None:
        return Decision(effect=Effect.APPROVE, reason=f"a person has to approve it, because {asks.text}")
    return ALLOWED


def _asks(rule: ToolRule, arguments: Mapping[str, Any]) -> Constraint | None:
    """Return what has a person asked. What is not there, or no number where one is compared, is asked about too."""
    for constraint in rule.approve_if:
        there, given = look_up(arguments, constraint.path)
        known = as_number(given) is not None if constraint.compares_numbers else there
        if holds(constraint, arguments, {}) or not (known or (constraint.optional and not there)):
            return constraint
    return None


def _over(policy: ToolPolicy, rule: ToolRule, limit: Limit, asked: Asked, usage: Usage) -> str | None:
    more = Decimal(1)
    if limit.path:
        number = as_number(look_up(asked.arguments, limit.path)[1])
        if number is None or number < 0:  # else a call could make room for another
            return f"{'.'.join(limit.path)} must be a number that is not negative"
        more = number
    if usage.get(_window(policy, rule, limit, asked), Decimal(0)) + more <= limit.most:
        return None
    what = f"{'.'.join(limit.path)} in all" if limit.path else "calls"
    return f"the limit of {limit.most:f} {what} {_span(limit)} is reached"


def _span(limit: Limit) -> str:
    whose = "of all customers together " if limit.scope is Scope.AGENT else ""
    if not limit.seconds:
        return f"{whose}a day"
    return f"{whose}in {limit.seconds} seconds"


def _window(policy: ToolPolicy, rule: ToolRule, limit: Limit, asked: Asked) -> Window:
    now = asked.now.astimezone(ZoneInfo(policy.time_zone))
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = now - timedelta(seconds=limit.seconds) if limit.seconds else midnight
    names = asked.tools or (asked.tool,)
    tools = tuple(name for name in names if rule.is_about(name))
    return Window(scope=limit.scope, tools=tools, since=since, path=limit.path)


def is_open(hours: Sequence[Hours], local: datetime) -> bool:
    """Return whether a local time is within opening hours."""
    today, yesterday, at = local.weekday(), (local.weekday() - 1) % 7, local.time()
    for each in hours:
        if each.begin < each.end:
            if today in each.days and each.begin <= at < each.end:
                return True
        elif (today in each.days and at >= each.begin) or (yesterday in each.days and at < each.end):
            return True
    return False


def _denied(reason: str) -> Decision:
    return Decision(effect=Effect.DENY, reason=reason)
