"""Recorded conversations, whole, for those who may read them. The role is the application's: as the tenant itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from subclaw.core.errors import NotFound
from subclaw.core.event import Event
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.events import decode

EVENTS_LIMIT = 20_000
"""Most events of a conversation that are read, the first ones."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A customer's conversation with a version of an agent: its events and their times, and what it was bound to."""

    agent: str
    version: int
    customer: str
    binding: Mapping[str, Any] = field(repr=False)
    events: tuple[Event, ...]
    times: tuple[datetime, ...]


async def read_recording(database: Database, tenant_id: TenantId, conversation_id: int) -> Recording:
    """Return a customer's conversation. Errors: `NotFound`, `Corrupt`, `Unavailable`."""
    async with database.transaction() as connection:
        await connection.execute("SELECT be_tenant(%s)", [tenant_id])
        query = (
            "SELECT s.agent, s.version, t.customer, s.binding FROM session s JOIN tenant t ON t.id = s.tenant_id"
            " WHERE s.conversation_id = %s"
        )
        session = await (await connection.execute(query, [conversation_id])).fetchone()
        query = "SELECT at, type, body FROM event WHERE conversation_id = %s ORDER BY seq LIMIT %s"
        rows = await (await connection.execute(query, [conversation_id, EVENTS_LIMIT])).fetchall()
    if session is None:
        raise NotFound("That is no conversation of a customer with an agent.")
    agent, version, customer, binding = session
    events = decode([{"type": kind, "body": body} for _, kind, body in rows])
    times = tuple(at for at, _, _ in rows)
    return Recording(agent=agent, version=version, customer=customer, binding=binding, events=events, times=times)


async def owner_of(operator: Database, conversation_id: int) -> TenantId:
    """Return whose a conversation is; the role is the operator's. Errors: `NotFound`, `Unavailable`."""
    for (tenant_id,) in await operator.rows("SELECT tenant_id FROM conversation WHERE id = %s", conversation_id):
        return TenantId(tenant_id)
    raise NotFound(f"There is no conversation {conversation_id}.")
