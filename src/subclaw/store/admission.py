"""Admission: whether a message is let in at all, or is too much, or its tenant is suspended."""

from dataclasses import dataclass

from subclaw.core.channel import InboundMessage, Receipt
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.intake_limits import PAUSE_S, SLOW_DOWN, SUSPENDED, IntakeLimits
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

_ADMIT = """
    SELECT * FROM admit_message(%s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s), %s, %s, %s, %s)
"""

_ADMIT_AND_RECEIVE = """
    SELECT * FROM admit_and_receive(%s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s), %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What was decided: `in`, `out` (the person was told, now or before), or `crowded` for a stranger.

    `receipt` is that of a message that needs nothing more; a stranger has none.
    """

    outcome: str
    receipt: Receipt | None


async def admit(
    database: Database, message: InboundMessage, limits: IntakeLimits | None, *, is_urgent: bool, send: bool
) -> Admission:
    """Decide on a message. With `send` what the person is told goes out by the outbox. Errors: `Unavailable`."""
    ((outcome, tenant_id, conversation_id),) = await database.rows(_ADMIT, *_asked(message, limits, is_urgent, send))
    return Admission(outcome=outcome, receipt=_receipt(tenant_id, conversation_id) if outcome == "out" else None)


async def admit_and_receive(
    database: Database, message: InboundMessage, limits: IntakeLimits | None, *, is_urgent: bool, send: bool
) -> Admission:
    """Decide on a message of words alone, see `admit`; if it is let in, store it as `conversations.receive` does."""
    reached(FaultPoint.INTAKE_RECEIVING)
    ((outcome, tenant_id, conversation_id, duplicate),) = await database.rows(
        _ADMIT_AND_RECEIVE, *_asked(message, limits, is_urgent, send), message.text
    )
    reached(FaultPoint.INTAKE_RECEIVED)
    receipt = None if tenant_id is None else _receipt(tenant_id, conversation_id, duplicate=bool(duplicate))
    return Admission(outcome=outcome, receipt=receipt)


def _receipt(tenant_id: int, conversation_id: int, *, duplicate: bool = False) -> Receipt:
    return Receipt(tenant_id=TenantId(tenant_id), conversation_id=conversation_id, duplicate=duplicate)


def _asked(message: InboundMessage, limits: IntakeLimits | None, is_urgent: bool, send: bool) -> tuple[object, ...]:
    return (
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
