"""The router follows the rows: at once when a notification says that they changed, and at every tick anyway."""

import asyncio
import contextlib
import logging

from subclaw.core.errors import SubclawError
from subclaw.routes.publisher import SitePublisher
from subclaw.store.database import DatabaseAddress
from subclaw.store.notify import Ears, Topic, hearing

_log = logging.getLogger(__name__)

TICK_S = 5.0
AGAIN_S = 0.5
PACE_S = 0.1
"""How long is waited after a look at least: what changes meanwhile is seen together."""


async def follow_routes(publisher: SitePublisher, address: DatabaseAddress, *, ears: Ears | None = None) -> None:
    """Make the router serve what the rows say, until cancelled; `ears` hear the database, else a session of its own.

    Errors: `Unavailable` if that session is lost.
    """
    changed = asyncio.Event()
    async with hearing(address, {Topic.SITES: lambda _: changed.set()}, ears):
        await keep_routes(publisher, changed)


async def keep_routes(publisher: SitePublisher, changed: asyncio.Event, *, tick_s: float = TICK_S) -> None:
    """Make the router serve what the rows say, now, when they `changed`, and at every tick, until cancelled.

    A tick costs one small query. While the database is away nothing is done but to look again.
    """
    is_whole = is_away = False
    while True:
        changed.clear()
        try:
            await publisher.end_previews()
            if is_whole:
                await publisher.follow_rows()
            else:
                _log.info("%d routes were made", await publisher.restore_routes())
                is_whole = True
            is_away = False
        except SubclawError as error:
            if not is_away:
                _log.warning("the routes of sites cannot be kept now: %s", error.internal)
            is_away = True
        await asyncio.sleep(min(tick_s, PACE_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(tick_s, AGAIN_S) if is_away else tick_s):
                await changed.wait()
