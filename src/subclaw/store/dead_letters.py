"""Replies that did not go out, as the operator sees them (figures and states, no words), and what can be done then."""

from dataclasses import dataclass
from datetime import datetime

from subclaw.core.errors import Conflict
from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A reply that failed, that nobody can tell of, or that is tried again.

    `parts_sent` of its `parts` went out; it has no parts before it was first tried. `waits` means that something will
    happen by itself: another try, or another question to the provider.
    """

    id: int
    tenant_name: str
    channel: str
    state: str
    parts: int
    parts_sent: int
    attempts: int
    written_at: datetime
    waits: bool
    detail: str


_LIST = """
    SELECT o.id, t.name, o.channel, o.state, p.parts, p.sent, o.attempts, o.written_at,
           o.state = 'queued' OR o.ask_at IS NOT NULL, left(o.detail, 300)
    FROM (
        (SELECT id FROM outbox WHERE state IN ('failed', 'unknown') ORDER BY id DESC LIMIT %s)
        UNION ALL
        (SELECT id FROM outbox WHERE state = 'queued' AND attempts > 0 ORDER BY id DESC LIMIT %s)
    ) found
    JOIN outbox o ON o.id = found.id JOIN tenant t ON t.id = o.tenant_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS parts, count(*) FILTER (WHERE state IN ('sent', 'delivered')) AS sent
        FROM outbox_part WHERE outbox_id = o.id
    ) p
    ORDER BY o.id DESC LIMIT %s
"""


async def dead_letters(operator: Database, *, limit: int) -> tuple[DeadLetter, ...]:
    """List replies that did not go out, newest first. The database is open in the operator's role, here and below."""
    rows = await operator.rows(_LIST, limit, limit, limit)
    return tuple(
        DeadLetter(
            id=id,
            tenant_name=name,
            channel=channel,
            state=state,
            parts=parts,
            parts_sent=sent,
            attempts=attempts,
            written_at=written_at,
            waits=waits,
            detail=detail,
        )
        for id, name, channel, state, parts, sent, attempts, written_at, waits, detail in rows
    )


async def retry_letter(operator: Database, id: int) -> None:
    """Have a reply sent again, at once and for another day; parts that went out stay. Errors: `Conflict`."""
    ((done,),) = await operator.rows("SELECT retry_outbox(%s)", id)
    if not done:
        raise _not_now(id)


async def drop_letter(operator: Database, id: int) -> None:
    """Give a reply up. Errors: `Conflict`."""
    ((done,),) = await operator.rows("SELECT drop_outbox(%s)", id)
    if not done:
        raise _not_now(id)


def _not_now(id: int) -> Conflict:
    return Conflict(f"Reply {id} is not among those that did not go out, or is being seen to right now.")
