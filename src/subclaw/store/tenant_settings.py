"""What is set for one tenant alone: its model, its time zone. The database is open in the operator's role."""

from dataclasses import dataclass

from subclaw.core.errors import NotFound
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

UNLIMITED = -1
"""As many messages as somebody likes."""


@dataclass(frozen=True, kw_only=True)
class TenantSettings:
    """What a tenant has of its own: `model` (`provider:model`) and `time_zone` (an IANA name); empty is as usual.

    `free_messages` is how many messages its person has, `UNLIMITED` for no limit, None as `agent.toml` says.
    """

    id: TenantId
    model: str
    time_zone: str
    free_messages: int | None


async def tenant_settings(operator: Database, name: str) -> TenantSettings:
    """Return a tenant's settings, by its name. Errors: `NotFound`, `Unavailable`."""
    query = "SELECT id, model, time_zone, free_messages FROM tenant WHERE name = %s"
    for id, model, time_zone, free_messages in await operator.rows(query, name):
        return TenantSettings(
            id=TenantId(id), model=model or "", time_zone=time_zone or "", free_messages=free_messages
        )
    raise NotFound(f"There is no tenant {name}.")


async def model_name(operator: Database, tenant_id: TenantId) -> str:
    """Return the model that a tenant has of its own, `provider:model`, or "". Errors: `Unavailable`."""
    rows = await operator.rows("SELECT model FROM tenant WHERE id = %s", tenant_id)
    return (rows and rows[0][0]) or ""


async def set_model(operator: Database, tenant_id: TenantId, model: str) -> None:
    """Give a tenant a model of its own from its next turn on; "" is the operator's. Errors: `Unavailable`."""
    await operator.rows("UPDATE tenant SET model = %s WHERE id = %s", model or None, tenant_id)


async def set_time_zone(operator: Database, tenant_id: TenantId, time_zone: str) -> None:
    """Say in which time zone (an IANA name) a tenant's person is. Errors: `Unavailable`."""
    await operator.rows("UPDATE tenant SET time_zone = %s WHERE id = %s", time_zone or None, tenant_id)


async def latest_conversation(operator: Database, tenant_id: TenantId) -> int:
    """Return the conversation in which a tenant's person wrote last. Errors: `NotFound`, `Unavailable`."""
    query = """
        SELECT c.id FROM conversation c
        LEFT JOIN inbox i ON i.conversation_id = c.id AND i.seq = c.inbox_seq
        WHERE c.tenant_id = %s ORDER BY i.received_at DESC NULLS LAST, c.id DESC LIMIT 1
    """
    for (id,) in await operator.rows(query, tenant_id):
        return int(id)
    raise NotFound("There is no conversation yet: the person has to write first.")


async def set_free_messages(operator: Database, tenant_id: TenantId, messages: int | None) -> None:
    """Say how many messages a tenant's person has; None is as many as all have. Errors: `Unavailable`."""
    await operator.rows("UPDATE tenant SET free_messages = %s WHERE id = %s", messages, tenant_id)
