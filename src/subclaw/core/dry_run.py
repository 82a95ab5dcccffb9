"""A dry run of a policy: what was asked for, decided on again by other rules."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from subclaw.core.policy import Opening, Refused, Rule, decide_host, decide_request
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount

RulesOf = Callable[[TenantId], Sequence[Rule]]
"""Returns the rules that apply to a tenant, those that follow from secrets included."""

LEFT_OUT = "*"
"""What the log has in place of a host, a method or a path when there were too many."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a policy would change: requests that it would have stopped, or else let through.

    `count` is how often they were made by `tenants` tenants, the last time at `last_at`. `reason` says why they would
    have been stopped. `method` and `path` are empty where only the host is known.
    """

    host: str
    port: int
    method: str
    path: str
    stopped: bool
    reason: str
    count: int
    tenants: int
    last_at: datetime


def dry_run(decisions: Iterable[DecisionCount], now: RulesOf, then: RulesOf) -> tuple[Change, ...]:
    """Return what rules `then` would change about decisions, in place of the rules `now`; what is stopped comes first.

    Each decision is of one tenant, and stands for all of its kind. One that was denied although the rules of now allow
    it was denied for something else, such as a quota, and is left out.
    """
    judge_now, judge_then = _Judge(now), _Judge(then)
    found: dict[tuple[str, int, str, str, bool], Change] = {}
    for each in decisions:
        refused = None if each.host == LEFT_OUT else judge_then(each)
        stopped = each.allowed and refused is not None
        let_through = not each.allowed and refused is None and judge_now(each) is not None
        if each.host == LEFT_OUT or not (stopped or let_through):
            continue
        key = (each.host, each.port, each.method, each.path, stopped)
        change = Change(
            host=each.host,
            port=each.port,
            method=each.method,
            path=each.path,
            stopped=stopped,
            reason=refused.reason if refused else "",
            count=each.count,
            tenants=1,
            last_at=each.last_at,
        )
        found[key] = _both(found[key], change) if key in found else change
    return tuple(sorted(found.values(), key=lambda change: (not change.stopped, -change.count, change.host)))


class _Judge:
    """Decides again, and remembers which hosts are open to which tenant."""

    def __init__(self, rules_of: RulesOf) -> None:
        self._rules_of = rules_of
        self._rules: dict[TenantId, Sequence[Rule]] = {}
        self._hosts: dict[tuple[TenantId, str, int], Opening | Refused] = {}

    def __call__(self, asked: DecisionCount) -> Refused | None:
        host = self._host(asked.tenant_id, asked.host, asked.port)
        if isinstance(host, Refused):
            return host
        if {asked.method, asked.path} & {"", LEFT_OUT}:
            return None
        request = decide_request(host, asked.method, asked.path)
        return request if isinstance(request, Refused) else None

    def _host(self, tenant_id: TenantId, host: str, port: int) -> Opening | Refused:
        key = (tenant_id, host, port)
        if key not in self._hosts:
            if tenant_id not in self._rules:
                self._rules[tenant_id] = self._rules_of(tenant_id)
            self._hosts[key] = decide_host(self._rules[tenant_id], host, port)
        return self._hosts[key]


def _both(one: Change, other: Change) -> Change:
    return replace(
        one,
        count=one.count + other.count,
        tenants=one.tenants + other.tenants,
        last_at=max(one.last_at, other.last_at),
    )
