"""A dry run: what other rules would have changed, decided on the log's rows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from subclaw.core.dry_run import Change, RulesOf, dry_run
from subclaw.core.policy import Mode, Rule
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ASKED = DecisionCount(
    tenant_id=TenantId(1),
    host="api.test",
    port=443,
    method="GET",
    path="/v1",
    allowed=True,
    mode="inspect",
    reason="",
    count=3,
    sent_bytes=0,
    received_bytes=0,
    last_at=NOON,
)
DENIED = replace(ASKED, allowed=False)
OPEN = Rule(host="api.test")


def everybodys(*rules: Rule) -> RulesOf:
    return lambda tenant_id: rules


def changed(asked: Sequence[DecisionCount], now: Sequence[Rule], then: Sequence[Rule]) -> list[tuple[str, bool]]:
    return [(change.path, change.stopped) for change in dry_run(asked, everybodys(*now), everybodys(*then))]


@pytest.mark.parametrize(
    ("asked", "now", "then", "expected"),
    [
        (ASKED, [OPEN], [OPEN], []),
        (ASKED, [OPEN], [], [("/v1", True)]),
        (ASKED, [OPEN], [OPEN, Rule(host="*.test", mode=Mode.DENY)], [("/v1", True)]),
        (ASKED, [OPEN], [Rule(host="api.test", paths=("/v2",))], [("/v1", True)]),
        (DENIED, [], [OPEN], [("/v1", False)]),
        (DENIED, [], [], []),
        (DENIED, [OPEN], [OPEN], []),
        (replace(DENIED, path="/v2"), [OPEN], [OPEN, Rule(host="other.test")], []),
    ],
)
def test_what_is_changed(
    asked: DecisionCount, now: Sequence[Rule], then: Sequence[Rule], expected: list[tuple[str, bool]]
) -> None:
    assert changed([asked], now, then) == expected


@pytest.mark.parametrize("path", ["", "*"])
def test_where_only_the_host_is_known_only_the_host_is_decided_on(path: str) -> None:
    asked = replace(ASKED, path=path)
    assert changed([asked], [OPEN], [Rule(host="api.test", paths=("/v2",))]) == []
    assert changed([asked], [OPEN], []) == [(path, True)]


def test_what_the_log_left_out_is_left_out() -> None:
    assert changed([replace(ASKED, host="*", port=0, method="*", path="*")], [OPEN], []) == []


def test_equal_requests_of_tenants_are_one_and_each_is_decided_by_its_own_rules() -> None:
    tenants = [TenantId(number) for number in (1, 2, 3)]
    asked = [
        replace(ASKED, tenant_id=tenant, count=10 * tenant, last_at=NOON + timedelta(hours=tenant))
        for tenant in tenants
    ]
    few = replace(ASKED, path="/few", count=1)

    def own(tenant_id: TenantId) -> Sequence[Rule]:
        return [OPEN] if tenant_id == 3 else []

    found = dry_run([few, *asked, DENIED], everybodys(), own)
    reason = "api.test is not on the list of hosts that may be reached"
    first = Change(
        host="api.test",
        port=443,
        method="GET",
        path="/v1",
        stopped=True,
        reason=reason,
        count=30,
        tenants=2,
        last_at=NOON + timedelta(hours=2),
    )
    assert found == (first, replace(first, path="/few", count=1, tenants=1, last_at=NOON))
