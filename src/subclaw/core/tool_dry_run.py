"""A dry run of a policy of tools: decisions of before, taken again by another one, in order and at their times."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from subclaw.core.tool_policy import Asked, Decision, Effect, Scope, ToolPolicy, Window, amounts, decide, windows


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision of before, as the log has it. `arguments` is None if that has only their digest.

    `approved` says that a person had approved the call.
    """

    tool: str
    effect: Effect
    at: datetime
    customer: str
    arguments: Mapping[str, Any] | None = None
    approved: bool = False


@dataclass(frozen=True, kw_only=True)
class PolicyChange:
    """What another policy would have made of `count` decisions. `after` is None where that depends on arguments that
    the log has not, or on what sessions were bound to."""

    tool: str
    before: Effect
    after: Effect | None
    reason: str
    count: int
    customers: frozenset[str]
    last_at: datetime


UNKNOWN = "it depends on arguments or a binding that the log does not have"


def dry_run(policy: ToolPolicy, decided: Iterable[Decided]) -> tuple[PolicyChange, ...]:
    """Return what a policy would have changed; what is denied comes first.

    A call that was asked about and then made was decided on twice, and is counted so.
    """
    history = _History()
    found: dict[tuple[str, Effect, Effect | None, str], PolicyChange] = {}
    rows = sorted(decided, key=lambda each: each.at)
    tools = tuple(sorted({each.tool for each in rows}))
    for each in rows:
        decision = _decide_again(policy, each, tools, history)
        after = decision.effect if decision else None
        if after == each.effect or (each.approved and after is Effect.APPROVE):
            continue
        reason = decision.reason if decision else UNKNOWN
        key = (each.tool, each.effect, after, reason)
        change = PolicyChange(
            tool=each.tool,
            before=each.effect,
            after=after,
            reason=reason,
            count=1,
            customers=frozenset([each.customer]),
            last_at=each.at,
        )
        found[key] = _both(found[key], change) if key in found else change
    order = {Effect.DENY: 0, Effect.APPROVE: 1, None: 2, Effect.ALLOW: 3}
    return tuple(sorted(found.values(), key=lambda change: (order[change.after], -change.count, change.tool)))


@dataclass
class _History:
    """What was allowed until now: sums by tool, customer and argument, so that each window is found by bisection."""

    times: dict[tuple[str, str | None, str], list[datetime]] = field(default_factory=lambda: defaultdict(list))
    sums: dict[tuple[str, str | None, str], list[Decimal]] = field(default_factory=lambda: defaultdict(list))

    def add(self, policy: ToolPolicy, each: Decided) -> None:
        numbers = {"": Decimal(1), **amounts(policy, each.tool, each.arguments or {})}
        for customer in (each.customer, None):
            for path, number in numbers.items():
                key = (each.tool, customer, path)
                before = self.sums[key][-1] if self.sums[key] else Decimal(0)
                self.times[key].append(each.at)
                self.sums[key].append(before + number)

    def used(self, window: Window, customer: str) -> Decimal:
        whose = customer if window.scope is Scope.CUSTOMER else None
        total = Decimal(0)
        for tool in window.tools:
            key = (tool, whose, ".".join(window.path))
            if sums := self.sums.get(key):
                first = bisect_left(self.times[key], window.since)
                total += sums[-1] - (sums[first - 1] if first else Decimal(0))
        return total


def _decide_again(policy: ToolPolicy, each: Decided, tools: tuple[str, ...], history: _History) -> Decision | None:
    if _cannot_tell(policy, each):
        return None
    asked = Asked(tool=each.tool, arguments=each.arguments or {}, binding={}, now=each.at, tools=tools)
    usage = {window: history.used(window, each.customer) for window in windows(policy, asked)}
    decision = decide(policy, asked, usage)
    if decision.effect is not Effect.DENY and each.effect is Effect.ALLOW:
        history.add(policy, each)
    return decision


def _cannot_tell(policy: ToolPolicy, each: Decided) -> bool:
    """Return whether the decision hangs on what the log does not have. What is denied anyway does not."""
    rules = policy.rules_for(each.tool)
    if any(rule.effect is Effect.DENY for rule in rules):
        return False
    constraints = [constraint for rule in rules for constraint in (*rule.require, *rule.approve_if)]
    sums = any(limit.path for rule in rules for limit in rule.limits)
    if each.arguments is None and (constraints or sums):
        return True
    return any(constraint.knows_binding for constraint in constraints)


def _both(one: PolicyChange, other: PolicyChange) -> PolicyChange:
    return replace(
        one,
        count=one.count + other.count,
        customers=one.customers | other.customers,
        last_at=max(one.last_at, other.last_at),
    )
