"""What an agent's owner sees: agents, customers, sessions, approvals and schedules, by pages. No words of customers.

The database is open in the operator's role. `agents` are those that the owner's key is for; none is all.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

_AGENTS = """
    SELECT a.id, a.live, a.canary, a.canary_share, a.changed_at FROM agent a
    WHERE (cardinality(%s::text[]) = 0 OR a.id = ANY (%s::text[])) AND a.id > %s AND a.live IS NOT NULL
    ORDER BY a.id LIMIT %s
"""
_CUSTOMERS = """
    SELECT t.id, t.agent, t.customer, t.created_at, t.suspended_at IS NOT NULL,
           (SELECT count(*) FROM session s WHERE s.tenant_id = t.id)
    FROM tenant t
    WHERE t.agent IS NOT NULL AND (cardinality(%s::text[]) = 0 OR t.agent = ANY (%s::text[]))
        AND (%s::text = '' OR t.agent = %s) AND (%s::text = '' OR t.customer = %s) AND t.id < %s
    ORDER BY t.id DESC LIMIT %s
"""
_SESSIONS = """
    SELECT c.address, s.agent, s.version, t.customer, s.channel, s.opened_at, s.conversation_id
    FROM session s JOIN conversation c ON c.id = s.conversation_id JOIN tenant t ON t.id = s.tenant_id
    WHERE s.agent = %s AND (%s::text = '' OR t.customer = %s) AND s.conversation_id < %s
    ORDER BY s.conversation_id DESC LIMIT %s
"""
_APPROVALS = """
    SELECT p.id, p.tenant_id, t.agent, t.customer, c.address, p.approval_id, p.tool, p.state, p.requested_at,
           p.expires_at, p.closed_at
    FROM approval p JOIN tenant t ON t.id = p.tenant_id JOIN conversation c ON c.id = p.conversation_id
    WHERE t.agent IS NOT NULL AND (cardinality(%s::text[]) = 0 OR t.agent = ANY (%s::text[]))
        AND (%s::text = '' OR t.agent = %s) AND (%s::text = '' OR p.state = %s) AND p.id BETWEEN %s AND %s
    ORDER BY p.id DESC LIMIT %s
"""
_SCHEDULES = """
    SELECT s.id, s.tenant_id, t.agent, t.customer, s.mode, s.state, s.due_at, s.time_zone, coalesce(s.repeat, ''),
           s.times, s.missed
    FROM schedule s JOIN tenant t ON t.id = s.tenant_id
    WHERE t.agent IS NOT NULL AND (cardinality(%s::text[]) = 0 OR t.agent = ANY (%s::text[]))
        AND (%s::text = '' OR t.agent = %s) AND s.id < %s
    ORDER BY s.id DESC LIMIT %s
"""
LAST_ID = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class OwnedAgent:
    """An agent, and which versions its customers get: `canary` for `canary_share` hundredths of them."""

    id: str
    version: int
    canary: int | None
    canary_share: int
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A customer: `customer` is what the owner calls them."""

    tenant_id: TenantId
    agent: str
    customer: str
    since: datetime
    is_suspended: bool
    sessions: int


@dataclass(frozen=True, kw_only=True)
class OwnedSession:
    """A session; `number` grows with each."""

    id: str
    agent: str
    version: int
    customer: str
    channel: str
    opened_at: datetime
    number: int


@dataclass(frozen=True, kw_only=True)
class OwnedApproval:
    """A request for an approval; `approval_id` names it within its session. `state` as in `store.approvals`."""

    id: int
    tenant_id: TenantId
    agent: str
    customer: str
    session: str
    approval_id: str
    tool: str
    state: str
    requested_at: datetime
    expires_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class OwnedSchedule:
    """A schedule that is set for a customer."""

    id: int
    tenant_id: TenantId
    agent: str
    customer: str
    mode: str
    state: str
    due_at: datetime
    time_zone: str
    repeat: str
    times: int
    missed: int


async def owned_agents(operator: Database, agents: Collection[str], *, after: str, limit: int) -> Sequence[OwnedAgent]:
    """Return agents that are live, by their ids. Errors: `Unavailable`."""
    names = ("id", "version", "canary", "canary_share", "changed_at")
    rows = await operator.rows(_AGENTS, list(agents), list(agents), after, limit)
    return [OwnedAgent(**dict(zip(names, row, strict=True))) for row in rows]


async def customers(
    operator: Database,
    agents: Collection[str],
    *,
    agent: str = "",
    customer: str = "",
    before: int = LAST_ID,
    limit: int,
) -> Sequence[Customer]:
    """Return customers, the newest first. Errors: `Unavailable`."""
    names = ("tenant_id", "agent", "customer", "since", "is_suspended", "sessions")
    values = list(agents), list(agents), agent, agent, customer, customer, before, limit
    return [Customer(**dict(zip(names, row, strict=True))) for row in await operator.rows(_CUSTOMERS, *values)]


async def owned_sessions(
    operator: Database, agent: str, *, customer: str = "", before: int = LAST_ID, limit: int
) -> Sequence[OwnedSession]:
    """Return an agent's sessions, the newest first. Errors: `Unavailable`."""
    names = ("id", "agent", "version", "customer", "channel", "opened_at", "number")
    rows = await operator.rows(_SESSIONS, agent, customer, customer, before, limit)
    return [OwnedSession(**dict(zip(names, row, strict=True))) for row in rows]


async def owned_approvals(
    operator: Database,
    agents: Collection[str],
    *,
    agent: str = "",
    state: str = "",
    ids: tuple[int, int] = (0, LAST_ID),
    limit: int,
) -> Sequence[OwnedApproval]:
    """Return requests for approvals with ids from one to another, the newest first. Errors: `Unavailable`."""
    names = "id tenant_id agent customer session approval_id tool state requested_at expires_at closed_at".split()
    values = list(agents), list(agents), agent, agent, state, state, *ids, limit
    return [OwnedApproval(**dict(zip(names, row, strict=True))) for row in await operator.rows(_APPROVALS, *values)]


async def owned_schedules(
    operator: Database, agents: Collection[str], *, agent: str = "", before: int = LAST_ID, limit: int
) -> Sequence[OwnedSchedule]:
    """Return schedules, the newest first. Errors: `Unavailable`."""
    names = "id tenant_id agent customer mode state due_at time_zone repeat times missed".split()
    values = list(agents), list(agents), agent, agent, before, limit
    return [OwnedSchedule(**dict(zip(names, row, strict=True))) for row in await operator.rows(_SCHEDULES, *values)]


async def approval_request(database: Database, tenant_id: TenantId, id: int) -> Mapping[str, Any]:
    """Return what asked for an approval, as it is stored. In the application's role. Errors: `Unavailable`."""
    ((found,),) = await database.rows("SELECT read_approval(%s, %s)", tenant_id, id)
    return dict(found["body"]) if found else {}


async def newest_session(database: Database, tenant_id: TenantId) -> str | None:
    """Return the session of a customer that was opened last. In the application's role. Errors: `Unavailable`."""
    ((found,),) = await database.rows("SELECT newest_session(%s)", tenant_id)
    return None if found is None else str(found)


def as_json(value: Any) -> bytes:
    """Return a row as a line of JSON."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
