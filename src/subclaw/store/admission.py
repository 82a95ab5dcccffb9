"""Admission: whether a message is let in at all, or is too much, or its tenant is suspended."""

from dataclasses import dataclass

from subclaw.core.channel import InboundMessage
from subclaw.core.intake_limits import PAUSE_S, SLOW_DOWN, SUSPENDED, IntakeLimits
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

_ADMIT = """
    SELECT * FROM admit_message(%s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s), %s, %s, %s, %s)
"""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What was decided: `in`, `out` (the person was told, now or before), or `crowded` for a stranger."""

    outcome: str
    tenant_id: TenantId
    conversation_id: int


async def admit(
    database: Database, message: InboundMessage, limits: IntakeLimits | None, *, is_urgent: bool, send: bool
) -> Admission:
    """Decide on a message. With `send` what the person is told goes out by the outbox. Errors: `Unavailable`."""
    ((outcome, tenant_id, conversation_id),) = await database.rows(
        _ADMIT,
        message.sender.channel,
        message.sender.address,
        message.provider_id,
        message.received_at,
        is_urgent,
        limits.burst if limits else None,
        limits.messages_per_minute if limits else None,
        PAUSE_S,
        limits.strangers_per_minute if limits else None,
        SLOW_DOWN,
        SUSPENDED,
        send,
    )
    return Admission(outcome=outcome, tenant_id=TenantId(tenant_id or 0), conversation_id=conversation_id or 0)
