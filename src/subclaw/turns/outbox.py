"""The outbox: sends queued replies by their channels, and records what became of each.

A reply is marked as `sending` before it is sent. If the sender dies in between, nobody can tell whether it went out: it
becomes `unknown`, and is not sent again.
"""

import asyncio
import logging
from collections.abc import Mapping

from subclaw.core.channel import Channel, Delivery, SendResult
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.notify import Topic, listen, notifications, worker_life
from subclaw.store.outbox import Claimed, claim_outbox, settle_outbox

log = logging.getLogger(__name__)

AT_ONCE = 8
TICK_S = 1.0
SEND_TIME_LIMIT_S = 60


async def deliver(database: Database, address: DatabaseAddress, channels: Mapping[str, Channel]) -> None:
    """Send what is queued, as it comes, until cancelled. Errors: `Unavailable` if the database is lost."""
    async with worker_life(address) as (session, worker_id):
        await listen(session, Topic.OUTBOX)
        awake = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_tick(awake))
            group.create_task(_send_due(database, worker_id, channels, awake))
            async for _ in notifications(session):
                awake.set()


async def _tick(awake: asyncio.Event) -> None:
    """Wake now and then: a retry comes due without a notification."""
    while True:
        awake.set()
        await asyncio.sleep(TICK_S)


async def _send_due(database: Database, worker_id: int, channels: Mapping[str, Channel], awake: asyncio.Event) -> None:
    while True:
        await awake.wait()
        awake.clear()
        while claimed := await claim_outbox(database, worker_id, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for one in claimed:
                    group.create_task(_send(database, worker_id, channels, one))


async def _send(database: Database, worker_id: int, channels: Mapping[str, Channel], claimed: Claimed) -> None:
    channel = channels.get(claimed.message.to.channel)
    if channel is None:
        result = SendResult(delivery=Delivery.FAILED, detail="this channel is not set up")
    else:
        result = await _try(channel, claimed)
    if result.delivery is not Delivery.SENT:
        log.warning("outbox %d: %s: %s", claimed.message.id, result.delivery, result.detail)
    await settle_outbox(database, worker_id, claimed, result)


async def _try(channel: Channel, claimed: Claimed) -> SendResult:
    try:
        async with asyncio.timeout(SEND_TIME_LIMIT_S):
            return await channel.send(claimed.message)
    except Exception as error:  # a channel's defect must not stop the other channels
        log.exception("outbox %d: the channel failed", claimed.message.id)
        return SendResult(delivery=Delivery.UNKNOWN, detail=type(error).__name__)
