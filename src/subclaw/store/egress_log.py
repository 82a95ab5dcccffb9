"""What was decided of machines' requests, counted by the hour, and what each tenant has used in a day."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import TupleRow

from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount, Traffic
from subclaw.store.database import Database

ROWS_PER_HOUR = 2_000
"""Most different decisions that are kept of a tenant and hour. Beyond that paths are left out, then names."""

KEPT_DAYS = 30

_LIMITS_CHARACTERS = {"host": 255, "method": 32, "path": 1_000, "mode": 20, "reason": 300}

_RECENT = """
    SELECT d.tenant_id, d.host, d.port, d.method, d.path, d.allowed, d.mode, d.reason, d.count, d.sent_bytes,
           d.received_bytes, d.last_at, t.name
    FROM egress_decision d JOIN tenant t ON t.id = d.tenant_id
    WHERE d.last_at >= %s AND d.hour >= date_trunc('hour', %s, 'UTC') AND (d.tenant_id = %s OR %s::bigint IS NULL)
        AND NOT (d.allowed AND %s)
    ORDER BY d.last_at DESC, d.host, d.method, d.path LIMIT %s
"""

_TOGETHER = """
    SELECT d.tenant_id, d.host, d.port, d.method, d.path, d.allowed, '', '', sum(d.count)::bigint,
           sum(d.sent_bytes)::bigint, sum(d.received_bytes)::bigint, max(d.last_at)
    FROM egress_decision d
    WHERE d.hour >= date_trunc('hour', %s, 'UTC') AND (d.tenant_id = %s OR %s::bigint IS NULL)
    GROUP BY d.tenant_id, d.host, d.port, d.method, d.path, d.allowed ORDER BY sum(d.count) DESC LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class LoggedDecision:
    """A decision that was taken, perhaps often, within one hour, and whose machine it was about."""

    decision: DecisionCount
    tenant_name: str


async def record(egress: Database, decisions: Sequence[DecisionCount]) -> None:
    """Add to the log. Each is counted to the hour of its `last_at`; what is too long is cut off.

    The database is open in the gateway's role, here and below unless it is said. Errors: `Unavailable`.
    """
    rows = [
        {
            "tenant": each.tenant_id,
            "host": _kept(each.host, "host"),
            "port": each.port,
            "method": _kept(each.method, "method"),
            "path": _kept(each.path, "path"),
            "allowed": each.allowed,
            "mode": _kept(each.mode, "mode"),
            "reason": _kept(each.reason, "reason"),
            "count": each.count,
            "sent_bytes": each.sent_bytes,
            "received_bytes": each.received_bytes,
            "last_at": each.last_at.isoformat(),
        }
        for each in decisions
    ]
    await egress.rows("SELECT record_decisions(%s::jsonb, %s)", json.dumps(rows), ROWS_PER_HOUR)


async def record_usage(egress: Database, used: Mapping[TenantId, Traffic]) -> None:
    """Add what was used since the last report to today's (UTC). Errors: `Unavailable`."""
    rows = [
        {
            "tenant": tenant_id,
            "requests": traffic.requests,
            "connections": traffic.connections,
            "sent_bytes": traffic.sent_bytes,
            "received_bytes": traffic.received_bytes,
        }
        for tenant_id, traffic in used.items()
    ]
    await egress.rows("SELECT record_egress_usage(%s::jsonb)", json.dumps(rows))


async def usage_today(egress: Database, tenant_id: TenantId) -> Traffic:
    """Return what a tenant has used today (UTC). Errors: `Unavailable`."""
    rows = await egress.rows(
        "SELECT requests, connections, sent_bytes, received_bytes FROM egress_usage"
        " WHERE tenant_id = %s AND day = (now() AT TIME ZONE 'UTC')::date",
        tenant_id,
    )
    for requests, connections, sent_bytes, received_bytes in rows:
        return Traffic(requests=requests, connections=connections, sent_bytes=sent_bytes, received_bytes=received_bytes)
    return Traffic()


async def prune(egress: Database) -> int:
    """Remove decisions that are older than `KEPT_DAYS`; return how many. Errors: `Unavailable`."""
    ((count,),) = await egress.rows("SELECT prune_egress(%s)", KEPT_DAYS)
    return int(count)


async def recent_decisions(
    operator: Database, *, since: datetime, tenant_id: TenantId | None, only_denied: bool, limit: int
) -> tuple[LoggedDecision, ...]:
    """List decisions since then, of all tenants or of one, the newest first. In the operator's role, as below.

    Errors: `Unavailable`.
    """
    rows = await operator.rows(_RECENT, since, since, tenant_id, tenant_id, only_denied, limit)
    return tuple(LoggedDecision(decision=_decision(row), tenant_name=row[-1]) for row in rows)


async def decisions_together(
    operator: Database, *, since: datetime, tenant_id: TenantId | None, limit: int
) -> tuple[DecisionCount, ...]:
    """Return the requests of each tenant since then, equal ones counted together, the most frequent first.

    They have neither modes nor reasons. Errors: `Unavailable`.
    """
    return tuple(map(_decision, await operator.rows(_TOGETHER, since, tenant_id, tenant_id, limit)))


def _decision(row: TupleRow) -> DecisionCount:
    tenant_id, host, port, method, path, allowed, mode, reason, count, sent_bytes, received_bytes, last_at = row[:12]
    return DecisionCount(
        tenant_id=tenant_id,
        host=host,
        port=port,
        method=method,
        path=path,
        allowed=allowed,
        mode=mode,
        reason=reason,
        count=count,
        sent_bytes=sent_bytes,
        received_bytes=received_bytes,
        last_at=last_at,
    )


def _kept(text: str, field: str) -> str:
    """Return a text as a database can hold it and a terminal show it: a machine's bytes are in it."""
    clean = text.encode("utf-8", "replace").decode()[: _LIMITS_CHARACTERS[field]]
    return clean if clean.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in clean)
