"""Customers of agents, and their sessions. The database is open in the application's role."""

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from subclaw.core.business import CustomerChannel, CustomerSession
from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.events import storable

BINDING_LIMIT_BYTES = 16_384
CUSTOMER_LIMIT_CHARACTERS = 200

_CUSTOMER = re.compile(rf"[^\x00-\x1f\x7f]{{1,{CUSTOMER_LIMIT_CHARACTERS}}}")
_SESSION = re.compile(r"ses_[A-Za-z0-9_-]{32}")


async def open_session(
    database: Database,
    agent: str,
    customer: str,
    binding: Mapping[str, Any],
    channel: CustomerChannel = CustomerChannel.API,
) -> CustomerSession:
    """Open a session of a customer's with the version of an agent that the customer gets now.

    Errors: `Invalid` for what the owner's server said, `NotFound` if there is no such agent, `Denied` if that version
    is not reached by the channel, `Unavailable`.
    """
    if not _CUSTOMER.fullmatch(customer):
        raise Invalid(f"A customer's id has 1 to {CUSTOMER_LIMIT_CHARACTERS} characters, and no control characters.")
    bound = json.dumps(storable(binding))
    if len(bound) > BINDING_LIMIT_BYTES:
        raise Invalid(f"What is bound to a session has at most {BINDING_LIMIT_BYTES:,} bytes as JSON.")
    session_id, name = f"ses_{secrets.token_urlsafe(24)}", f"customer-{secrets.token_hex(8)}"
    values = agent, customer, session_id, bound, name, channel
    rows = await database.rows("SELECT * FROM open_session(%s, %s, %s, %s, %s, %s)", *values)
    for tenant_id, version in rows:
        if tenant_id is None:
            raise Denied(f"{agent} is not reached by {channel}: its agent.toml names other channels.")
        return CustomerSession(
            tenant_id=TenantId(tenant_id),
            agent=agent,
            version=version,
            customer=customer,
            session_id=session_id,
            channel=channel,
            binding=json.loads(bound),
        )
    raise NotFound(f"There is no agent {agent[:64]!r}.")


async def session_of(database: Database, session_id: str) -> CustomerSession | None:
    """Return the session of an id, if there is one. Errors: `Unavailable`."""
    if not _SESSION.fullmatch(session_id):
        return None
    return _session(await database.rows("SELECT * FROM find_session(%s)", session_id))


async def session_of_conversation(
    database: Database, tenant_id: TenantId, conversation_id: int
) -> CustomerSession | None:
    """Return the session that a tenant's conversation is, if it is one. Errors: `Unavailable`."""
    return _session(await database.rows("SELECT * FROM session_of_conversation(%s, %s)", tenant_id, conversation_id))


async def conversation_of(database: Database, tenant_id: TenantId, session_id: str) -> int:
    """Return the conversation that a tenant's session is. Errors: `NotFound`, `Unavailable`."""
    async with database.transaction() as connection:
        await connection.execute("SELECT be_tenant(%s)", [tenant_id])
        cursor = await connection.execute("SELECT conversation_id FROM session WHERE id = %s", [session_id])
        row = await cursor.fetchone()
    if row is None:
        raise NotFound("There is no such session.")
    return int(row[0])


def _session(rows: Any) -> CustomerSession | None:
    for tenant_id, agent, version, customer, id, channel, binding in rows:
        return CustomerSession(
            tenant_id=TenantId(tenant_id),
            agent=agent,
            version=version,
            customer=customer,
            session_id=id,
            channel=CustomerChannel(channel),
            binding=binding,
        )
    return None
