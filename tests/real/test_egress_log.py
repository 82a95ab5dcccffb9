"""The log of decisions and what was used, in a real PostgreSQL: counted by the hour, bounded, pruned."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.budgets import owner_rows
from tests.real.test_egress_rules import make_tenants, run

from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount, Traffic
from subclaw.store import egress_log
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.egress_log import (
    KEPT_DAYS,
    decisions_together,
    prune,
    recent_decisions,
    record,
    record_usage,
    usage_today,
)

NOON = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
LONG_AGO = NOON - timedelta(days=KEPT_DAYS + 2)


def decision(
    tenant_id: TenantId,
    *,
    host: str = "api.test",
    path: str = "/v1",
    allowed: bool = True,
    count: int = 1,
    at: datetime = NOON,
) -> DecisionCount:
    return DecisionCount(
        tenant_id=tenant_id,
        host=host,
        port=443,
        method="GET",
        path=path,
        allowed=allowed,
        mode="inspect",
        reason="" if allowed else f"{host} is not on the list",
        count=count,
        sent_bytes=10 * count,
        received_bytes=100 * count,
        last_at=at,
    )


async def logged(operator: Database, *, tenant_id: TenantId | None = None, denied: bool = False) -> list[DecisionCount]:
    found = await recent_decisions(operator, since=LONG_AGO, tenant_id=tenant_id, only_denied=denied, limit=100)
    return [each.decision for each in found]


def test_equal_decisions_of_an_hour_are_counted_together(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        later, before = NOON + timedelta(minutes=5), NOON - timedelta(hours=1)
        await record(egress, [decision(mine), decision(mine, count=2, at=later)])
        await record(egress, [decision(mine, at=NOON), decision(mine, at=before), decision(theirs, allowed=False)])
        assert await logged(operator) == [
            decision(mine, count=4, at=later),
            decision(theirs, allowed=False),
            decision(mine, at=before),
        ]
        assert await logged(operator, tenant_id=theirs) == [decision(theirs, allowed=False)]
        assert await logged(operator, denied=True) == [decision(theirs, allowed=False)]
        (first, *_) = await recent_decisions(operator, since=later, tenant_id=None, only_denied=False, limit=9)
        assert first.tenant_name == "tenant-1"
        together = await decisions_together(operator, since=LONG_AGO, tenant_id=mine, limit=9)
        assert [(each.host, each.count, each.last_at) for each in together] == [("api.test", 5, later)]

    run(scenario, address)


def test_a_machine_that_asks_for_everything_fills_no_database(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = make_tenants(address, 2)
    monkeypatch.setattr(egress_log, "ROWS_PER_HOUR", 5)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await record(egress, [decision(mine, path=f"/{number}") for number in range(8)])
        rows = await logged(operator, tenant_id=mine)
        assert sorted(row.count for row in rows) == [1, 1, 1, 1, 1, 3]
        assert [row.count for row in rows if row.path == "*"] == [3]
        for number in range(50):
            await record(
                egress, [decision(mine, host=f"{number}.test", allowed=False), decision(mine, path=f"/{number}")]
            )
        rows = await logged(operator, tenant_id=mine)
        assert len(rows) <= 12
        assert sum(row.count for row in rows) == 108
        assert {row.host for row in rows if row.path == "*"} >= {"*", "api.test"}
        await record(egress, [decision(theirs)])
        assert await logged(operator, tenant_id=theirs) == [decision(theirs)]

    run(scenario, address)


def test_what_no_database_can_hold_and_no_terminal_show_is_held_otherwise(address: DatabaseAddress) -> None:
    (mine,) = make_tenants(address, 1)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await record(egress, [decision(mine, path=f"/a\0b\ud800\x1b[2J{'x' * 5_000}")])
        (row,) = await logged(operator)
        assert row.path == f"/a\ufffdb?\ufffd[2J{'x' * 991}"

    run(scenario, address)


def test_what_was_used_adds_up_for_a_day(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        assert await usage_today(egress, mine) == Traffic()
        for _ in range(2):
            used = {mine: Traffic(requests=3, connections=1, sent_bytes=5, received_bytes=2**40), theirs: Traffic()}
            await record_usage(egress, used)
        assert await usage_today(egress, mine) == Traffic(
            requests=6, connections=2, sent_bytes=10, received_bytes=2**41
        )
        owner_rows(address, "UPDATE egress_usage SET day = day - 1 WHERE tenant_id = %s", mine)
        assert await usage_today(egress, mine) == Traffic()

    run(scenario, address)


def test_a_tenant_who_is_gone_takes_nothing_of_the_others_along(address: DatabaseAddress) -> None:
    mine, gone = make_tenants(address, 2)
    owner_rows(address, "DELETE FROM tenant WHERE id = %s", gone)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await record(egress, [decision(gone), decision(mine)])
        await record_usage(egress, {gone: Traffic(requests=1), mine: Traffic(requests=1)})
        assert await logged(operator) == [decision(mine)]
        assert await usage_today(egress, mine) == Traffic(requests=1)

    run(scenario, address)


def test_old_decisions_are_pruned(address: DatabaseAddress) -> None:
    (mine,) = make_tenants(address, 1)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        recent = decision(mine, at=NOON - timedelta(days=KEPT_DAYS - 1))
        await record(egress, [decision(mine, at=LONG_AGO), recent])
        assert await prune(egress) == 1
        assert await logged(operator) == [recent]
        assert await prune(egress) == 0

    run(scenario, address)


def test_a_tenant_sees_its_own_log_and_writes_none(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await record(egress, [decision(mine), decision(theirs)])
        assert await app.rows("SELECT tenant_id FROM egress_decision") == []
        await app.rows("SELECT set_config('subclaw.tenant', %s, false)", str(mine))
        assert await app.rows("SELECT tenant_id FROM egress_decision") == [(mine,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await app.rows("DELETE FROM egress_decision")

    run(scenario, address)
