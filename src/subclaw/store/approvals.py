"""Approvals as the store finds them without reading transcripts: what waits, what has expired, the operator's list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from subclaw.core.approval import ApprovalRequested
from subclaw.core.event import Event
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.events import decode, encode


@dataclass(frozen=True, kw_only=True)
class Resting:
    """A conversation in which no turn runs or is due. `channel` is what its replies go by."""

    tenant_id: TenantId
    conversation_id: int
    channel: str


@dataclass(frozen=True, kw_only=True)
class ApprovalSummary:
    """One line of the operator's list: no arguments, no code. `state` is open, approved, declined, expired or void."""

    tenant_name: str
    tool: str
    state: str
    requested_at: datetime
    expires_at: datetime
    closed_at: datetime | None


_SUMMARIES = """
    SELECT t.name, a.tool, a.state, a.requested_at, a.expires_at, a.closed_at
    FROM approval a JOIN tenant t ON t.id = a.tenant_id
    WHERE a.state = 'open' OR NOT %s ORDER BY a.id DESC LIMIT %s
"""


async def open_requests(database: Database, tenant_id: TenantId, conversation_id: int) -> tuple[ApprovalRequested, ...]:
    """Return what waits for a decision in a conversation, oldest first. Errors: `Corrupt`, `Unavailable`."""
    ((found,),) = await database.rows("SELECT open_approvals(%s, %s)", tenant_id, conversation_id)
    return tuple(event for event in decode(found) if isinstance(event, ApprovalRequested))


async def resting_with_expired(database: Database, now: datetime, limit: int) -> tuple[Resting, ...]:
    """Return conversations at rest in which a request has expired, the longest ago first. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM expired_approvals(%s, %s)", now, limit)
    return tuple(Resting(tenant_id=TenantId(row[0]), conversation_id=row[1], channel=row[2]) for row in rows)


async def expire(
    database: Database,
    resting: Resting,
    requests: Sequence[ApprovalRequested],
    events: Sequence[Event],
    *,
    reply: str,
    send: bool,
) -> bool:
    """Record that requests have expired; with `send`, the reply goes to the outbox.

    Returns whether it was recorded: not if the conversation is no more at rest, or one of them no more open.
    """
    ((done,),) = await database.rows(
        "SELECT expire_approvals(%s, %s, %s, %s, %s, %s)",
        resting.tenant_id,
        resting.conversation_id,
        [request.approval_id for request in requests],
        encode(events),
        reply,
        send,
    )
    return bool(done)


async def approval_summaries(operator: Database, *, limit: int, only_open: bool) -> tuple[ApprovalSummary, ...]:
    """List requests, the newest first. The database is open in the operator's role. Errors: `Unavailable`."""
    return tuple(
        ApprovalSummary(
            tenant_name=name,
            tool=tool,
            state=state,
            requested_at=requested_at,
            expires_at=expires_at,
            closed_at=closed_at,
        )
        for name, tool, state, requested_at, expires_at, closed_at in await operator.rows(_SUMMARIES, only_open, limit)
    )
