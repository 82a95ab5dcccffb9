"""Recorded conversations, whole, for those who may read them. The role is the application's: as the tenant itself."""

from dataclasses import dataclass

from subclaw.core.errors import NotFound
from subclaw.core.event import Event
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.events import decode

EVENTS_LIMIT = 20_000
"""Most events of a conversation that are read, the first ones."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A customer's conversation with a version of an agent."""

    agent: str
    version: int
    events: tuple[Event, ...]


async def read_recording(database: Database, tenant_id: TenantId, conversation_id: int) -> Recording:
    """Return a customer's conversation. Errors: `NotFound`, `Corrupt`, `Unavailable`."""
    async with database.transaction() as connection:
        await connection.execute("SELECT be_tenant(%s)", [tenant_id])
        query = "SELECT agent, version FROM session WHERE conversation_id = %s"
        session = await (await connection.execute(query, [conversation_id])).fetchone()
        query = "SELECT type, body FROM event WHERE conversation_id = %s ORDER BY seq LIMIT %s"
        rows = await (await connection.execute(query, [conversation_id, EVENTS_LIMIT])).fetchall()
    if session is None:
        raise NotFound("That is no conversation of a customer with an agent.")
    events = decode([{"type": kind, "body": body} for kind, body in rows])
    return Recording(agent=session[0], version=session[1], events=events)


async def session_conversation(database: Database, tenant_id: TenantId, session_id: str) -> int:
    """Return the conversation that a tenant's session is. Errors: `NotFound`, `Unavailable`."""
    async with database.transaction() as connection:
        await connection.execute("SELECT be_tenant(%s)", [tenant_id])
        cursor = await connection.execute("SELECT conversation_id FROM session WHERE id = %s", [session_id])
        row = await cursor.fetchone()
    if row is None:
        raise NotFound("There is no such session.")
    return int(row[0])


async def owner_of(operator: Database, conversation_id: int) -> TenantId:
    """Return whose a conversation is; the role is the operator's. Errors: `NotFound`, `Unavailable`."""
    for (tenant_id,) in await operator.rows("SELECT tenant_id FROM conversation WHERE id = %s", conversation_id):
        return TenantId(tenant_id)
    raise NotFound(f"There is no conversation {conversation_id}.")
