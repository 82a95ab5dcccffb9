"""Channels that are no webhooks: messages that are fetched, by one worker of all; those that do not come by HTTP."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from subclaw.channels.kind import ChannelSetUp, Inside, Outside
from subclaw.core.errors import SubclawError
from subclaw.store.alone import run_alone
from subclaw.store.database import DatabaseAddress

log = logging.getLogger(__name__)

PAUSES_S = (1.0, 5.0, 15.0, 60.0)
"""How long it takes until a channel that failed is listened to again; the last one from there on."""

STEADY_S = 300.0
"""Whoever listened for so long begins with the first pause again."""


async def keep_listening(channels: Sequence[ChannelSetUp], outside: Outside, address: DatabaseAddress) -> None:
    """Listen to all channels that are to be listened to, until cancelled. What fails in one concerns no other."""
    async with asyncio.TaskGroup() as group:
        for channel in channels:
            if channel.listen:
                listen = partial(channel.listen, outside)
                name = channel.kind.name
                group.create_task(_again_and_again(name, partial(run_alone, address, f"listen {name}", listen)))


async def keep_serving(channels: Sequence[ChannelSetUp], inside: Inside) -> None:
    """Serve all channels that do not come by HTTP, until cancelled. What fails in one concerns no other."""
    async with asyncio.TaskGroup() as group:
        for channel in channels:
            if channel.serve:
                group.create_task(_again_and_again(channel.kind.name, partial(channel.serve, inside)))


async def _again_and_again(name: str, listen: Callable[[], Awaitable[None]]) -> None:
    loop, failures = asyncio.get_running_loop(), 0
    while True:
        began_s = loop.time()
        try:
            await listen()
            log.warning("%s: listening ended", name)
        except SubclawError as error:
            log.warning("%s: listening failed: %s", name, error.internal)
        except Exception as error:  # a channel's defect must not stop turns
            log.error("%s: listening failed: %s", name, type(error).__name__, exc_info=True)
        failures = 1 if loop.time() - began_s > STEADY_S else failures + 1
        await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S)) - 1])
