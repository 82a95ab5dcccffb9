"""Sends webhooks: claims what is due, has the gateway sign and send it, and records what came of it."""

import asyncio
import contextlib
import logging
import time

import httpx2

from subclaw.core.errors import SubclawError
from subclaw.core.webhook import GONE, delay_s
from subclaw.egress.control.webhook_client import send_webhook
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.notify import Ears, Topic, hearing
from subclaw.store.webhooks import CLAIM_LIMIT, Claimed, claim, settle

TICK_S = 5.0
log = logging.getLogger(__name__)


async def deliver_webhooks(
    database: Database, address: DatabaseAddress, gateway: httpx2.AsyncClient, *, ears: Ears | None = None
) -> None:
    """Send what is due, until cancelled. Errors: `Unavailable` if the database is lost.

    `ears` hear of `WEBHOOK`, if there are any yet.
    """
    news = asyncio.Event()
    async with hearing(address, {Topic.WEBHOOK: lambda _: news.set()}, ears):
        await _keep_sending(database, gateway, news)


async def _keep_sending(database: Database, gateway: httpx2.AsyncClient, news: asyncio.Event) -> None:
    while True:
        news.clear()
        claimed = await claim(database)
        await asyncio.gather(*(_try(database, gateway, one) for one in claimed))
        if len(claimed) < CLAIM_LIMIT:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), TICK_S)


async def _try(database: Database, gateway: httpx2.AsyncClient, claimed: Claimed) -> None:
    sent = await send_webhook(
        gateway,
        url=claimed.url,
        endpoint=claimed.endpoint,
        sealed=claimed.sealed,
        id=claimed.id,
        timestamp=int(time.time()),
        body=claimed.body,
    )
    arrived = 200 <= sent.status < 300
    detail = "" if arrived else sent.reason or f"it answered with status {sent.status}"
    retry_s = delay_s(claimed.attempt, sent.retry_after_s)
    try:
        gone = sent.status == GONE
        await settle(database, claimed, sent=arrived, retry_s=None if gone else retry_s, detail=detail, gone=gone)
    except SubclawError as error:  # it is claimed again when its time is over: the receiver knows it by its id
        log.error("webhook %s: %s", claimed.id, error.internal)
