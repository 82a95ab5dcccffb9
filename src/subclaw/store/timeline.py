"""What the operator sees of one tenant: where it is reached, its conversations, and what happened in them; no words."""

from dataclasses import dataclass
from datetime import datetime

from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Reached:
    """An address of a tenant. `ending` is its last four characters, enough to know one again; empty for a short one."""

    channel: str
    ending: str


@dataclass(frozen=True, kw_only=True)
class ConversationSummary:
    """A conversation in figures. `running` means that a worker has it, `waiting` that it is to be taken up."""

    id: int
    channel: str
    messages: int
    events: int
    running: bool
    waiting: bool
    last_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TimelineEvent:
    """An event without its words.

    `state` is how it turned out, of a closed set, or empty; `calls` is how many tool calls a model's reply made; the
    tokens are those of a model's reply.
    """

    seq: int
    at: datetime
    type: str
    state: str
    calls: int
    input_tokens: int
    output_tokens: int


_REACHED = """
    SELECT channel, CASE WHEN length(address) > 8 THEN right(address, 4) ELSE '' END
    FROM identity WHERE tenant_id = %s ORDER BY channel, address LIMIT %s
"""

_CONVERSATIONS = """
    SELECT c.id, c.channel, c.inbox_seq, c.next_seq - 1, c.owner IS NOT NULL, c.owner IS NULL AND c.wake_at IS NOT NULL,
           (SELECT at FROM event e WHERE e.conversation_id = c.id ORDER BY seq DESC LIMIT 1)
    FROM conversation c WHERE c.tenant_id = %s ORDER BY c.id DESC LIMIT %s
"""

_TIMELINE = """
    SELECT e.seq, e.at, e.type, coalesce(e.state, ''), coalesce(e.calls, 0), coalesce(u.input_tokens, 0),
           coalesce(u.output_tokens, 0)
    FROM operator_event e LEFT JOIN usage u ON u.conversation_id = e.conversation_id AND u.seq = e.seq
    WHERE e.conversation_id = %s AND e.tenant_id = %s AND e.seq < %s ORDER BY e.seq DESC LIMIT %s
"""


async def reached(operator: Database, tenant_id: int, *, limit: int) -> tuple[Reached, ...]:
    """List where a tenant is reached. The database is open in the operator's role, here and below."""
    rows = await operator.rows(_REACHED, tenant_id, limit)
    return tuple(Reached(channel=channel, ending=ending) for channel, ending in rows)


async def conversation_summaries(operator: Database, tenant_id: int, *, limit: int) -> tuple[ConversationSummary, ...]:
    """List a tenant's conversations, the newest first."""
    rows = await operator.rows(_CONVERSATIONS, tenant_id, limit)
    return tuple(
        ConversationSummary(
            id=id, channel=channel, messages=messages, events=events, running=running, waiting=waiting, last_at=last_at
        )
        for id, channel, messages, events, running, waiting, last_at in rows
    )


async def timeline(
    operator: Database, tenant_id: int, conversation_id: int, *, before: int, limit: int
) -> tuple[TimelineEvent, ...]:
    """List what happened in a tenant's conversation, the latest first, from below the seq `before`."""
    rows = await operator.rows(_TIMELINE, conversation_id, tenant_id, before, limit)
    return tuple(
        TimelineEvent(
            seq=seq,
            at=at,
            type=type,
            state=state,
            calls=calls,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
        for seq, at, type, state, calls, input_tokens, output_tokens in rows
    )
