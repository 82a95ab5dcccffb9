"""The outbox: replies that are to go out by a channel's provider, and what became of each."""

from dataclasses import dataclass

from subclaw.core.channel import Address, Delivery, OutboundMessage, SendResult
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

ATTEMPT_LIMIT = 5
"""How often a message that certainly did not go out is tried."""


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A message that this worker now sends; it is marked as `sending`."""

    tenant_id: TenantId
    message: OutboundMessage
    attempt: int


async def claim_outbox(database: Database, worker_id: int, limit: int) -> tuple[Claimed, ...]:
    """Take up to `limit` queued messages."""
    claimed = await database.rows("SELECT * FROM claim_outbox(%s, %s)", worker_id, limit)
    return tuple([await _read(database, TenantId(tenant_id), id) for tenant_id, id in claimed])


async def settle_outbox(database: Database, worker_id: int, claimed: Claimed, result: SendResult) -> None:
    """Record what became of a try. One that failed goes back to the queue, later each time, until it is given up."""
    again = result.delivery is Delivery.FAILED and claimed.attempt < ATTEMPT_LIMIT
    await database.rows(
        "SELECT settle_outbox(%s, %s, %s, %s, %s, %s, make_interval(secs => %s))",
        claimed.tenant_id,
        claimed.message.id,
        worker_id,
        "queued" if again else result.delivery.value,
        result.provider_id,
        result.detail,
        retry_delay_s(claimed.attempt) if again else 0,
    )


def retry_delay_s(attempt: int) -> float:
    """Return how long to wait after the given attempt (1 is the first): 2, 8, 32, 128 seconds."""
    return float(2 * 4 ** (attempt - 1))


async def _read(database: Database, tenant_id: TenantId, id: int) -> Claimed:
    ((channel, address, text, attempt),) = await database.rows("SELECT * FROM read_outbound(%s, %s)", tenant_id, id)
    message = OutboundMessage(id=id, to=Address(channel=channel, address=address), text=text)
    return Claimed(tenant_id=tenant_id, message=message, attempt=attempt)
