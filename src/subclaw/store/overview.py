"""What the operator sees of everything at once: figures, turns that run, replies that did not go out.

All of it is read in the operator's role, which the database lets see figures, states and times, never words. Every
query is bounded and goes by an index, or through tables with one row a tenant.
"""

from dataclasses import dataclass
from datetime import datetime

from subclaw.core.tenant import TenantId
from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The box in figures. `new_tenants` came in the last day; `waiting` conversations have no worker yet.

    `undelivered` replies never went out, or nobody can tell; `queued` ones are on their way.
    """

    tenants: int
    new_tenants: int
    messages: int
    running: int
    waiting: int
    queued: int
    undelivered: int


@dataclass(frozen=True, kw_only=True)
class ModelUsage:
    """What one model was used for in the last day."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, kw_only=True)
class RunningTurn:
    """A turn that a worker has in hand, and the last thing that happened in it."""

    tenant_id: TenantId
    tenant_name: str
    conversation_id: int
    channel: str
    last_type: str
    last_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A reply in the outbox, without its words. `at` is when it was given up, or when it is tried next."""

    id: int
    tenant_id: TenantId
    tenant_name: str
    channel: str
    state: str
    attempts: int
    at: datetime
    detail: str


_FIGURES = """
    SELECT t.*, c.*,
           (SELECT count(*) FROM conversation WHERE owner IS NOT NULL),
           (SELECT count(*) FROM conversation WHERE owner IS NULL AND wake_at <= now()),
           (SELECT count(*) FROM outbox WHERE state = 'queued') + (SELECT count(*) FROM outbox WHERE state = 'sending'),
           (SELECT count(*) FROM outbox WHERE state IN ('failed', 'unknown'))
    FROM (SELECT count(*), count(*) FILTER (WHERE created_at > now() - interval '1 day') FROM tenant) t,
         (SELECT coalesce(sum(inbox_seq), 0)::bigint FROM conversation) c
"""

_USAGE = """
    SELECT model, count(*), sum(input_tokens)::bigint, sum(output_tokens)::bigint
    FROM usage WHERE at > now() - interval '1 day' GROUP BY model ORDER BY 2 DESC LIMIT %s
"""

_RUNNING = """
    SELECT t.id, t.name, c.id, c.channel, coalesce(e.type, ''), e.at
    FROM conversation c JOIN tenant t ON t.id = c.tenant_id
    LEFT JOIN LATERAL (SELECT type, at FROM event WHERE conversation_id = c.id ORDER BY seq DESC LIMIT 1) e ON true
    WHERE c.owner IS NOT NULL ORDER BY e.at LIMIT %s
"""

_UNDELIVERED = """
    SELECT o.id, t.id, t.name, o.channel, o.state, o.attempts, o.send_at, left(o.detail, 300)
    FROM outbox o JOIN tenant t ON t.id = o.tenant_id
    WHERE o.state IN ('failed', 'unknown') AND o.id < %s ORDER BY o.id DESC LIMIT %s
"""

_RETRIED = """
    SELECT o.id, t.id, t.name, o.channel, o.state, o.attempts, o.send_at, left(o.detail, 300)
    FROM outbox o JOIN tenant t ON t.id = o.tenant_id
    WHERE o.state = 'queued' AND o.attempts > 0 ORDER BY o.send_at LIMIT %s
"""


async def figures(operator: Database) -> Figures:
    """Count what there is."""
    ((tenants, new_tenants, messages, running, waiting, queued, undelivered),) = await operator.rows(_FIGURES)
    return Figures(
        tenants=tenants,
        new_tenants=new_tenants,
        messages=messages,
        running=running,
        waiting=waiting,
        queued=queued,
        undelivered=undelivered,
    )


async def model_usage(operator: Database, *, limit: int) -> tuple[ModelUsage, ...]:
    """Return what was asked of models in the last day, the most used first."""
    rows = await operator.rows(_USAGE, limit)
    return tuple(
        ModelUsage(model=model, calls=calls, input_tokens=input_tokens, output_tokens=output_tokens)
        for model, calls, input_tokens, output_tokens in rows
    )


async def running_turns(operator: Database, *, limit: int) -> tuple[RunningTurn, ...]:
    """List turns that run, the one where nothing has happened for longest first."""
    rows = await operator.rows(_RUNNING, limit)
    return tuple(
        RunningTurn(
            tenant_id=TenantId(tenant_id),
            tenant_name=name,
            conversation_id=conversation_id,
            channel=channel,
            last_type=last_type,
            last_at=last_at,
        )
        for tenant_id, name, conversation_id, channel, last_type, last_at in rows
    )


async def undelivered(operator: Database, *, before: int, limit: int) -> tuple[Outgoing, ...]:
    """List replies that never went out, or nobody can tell, the newest first, from below the id `before`."""
    return tuple(_outgoing(*row) for row in await operator.rows(_UNDELIVERED, before, limit))


async def retried(operator: Database, *, limit: int) -> tuple[Outgoing, ...]:
    """List replies that failed and are going to be tried again, the next one first."""
    return tuple(_outgoing(*row) for row in await operator.rows(_RETRIED, limit))


def _outgoing(
    id: int, tenant_id: int, name: str, channel: str, state: str, attempts: int, at: datetime, detail: str
) -> Outgoing:
    return Outgoing(
        id=id,
        tenant_id=TenantId(tenant_id),
        tenant_name=name,
        channel=channel,
        state=state,
        attempts=attempts,
        at=at,
        detail=detail,
    )
