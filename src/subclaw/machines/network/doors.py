"""A door in stock: the next machine that starts need not wait until one is made."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from subclaw.core.errors import Unavailable
from subclaw.machines.network.door import Door, close_door, new_door

logger = logging.getLogger(__name__)


class Doors:
    """Gives doors, and makes the next one meanwhile, in a group that is given. `close` it before the group ends."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._ready: Door | None = None
        self._stocking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Door]:
        """Give a door for as long as the block, and as what was started with its tap. Raises `Unavailable`."""
        door, self._ready = self._ready, None
        if door is None:
            door = await new_door()
        if self._ready is None and (self._stocking is None or self._stocking.done()):
            self._stocking = self._group.create_task(self._stock())
        try:
            yield door
        finally:
            close_door(door)

    async def close(self) -> None:
        """Let the door go that is in stock, and make no more."""
        if self._stocking is not None:
            self._stocking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stocking
        if self._ready is not None:
            close_door(self._ready)
            self._ready = None

    async def _stock(self) -> None:
        try:
            self._ready = await new_door()
        except Unavailable as error:
            logger.warning("no door is in stock: %s", error.internal)
