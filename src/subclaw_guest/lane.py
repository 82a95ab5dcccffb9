"""One thread for what a tenant could make hang, so that no more than one ever does."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from subclaw_guest.refusals import Reason, Refused

TIME_LIMIT_S = 8.0
T = TypeVar("T")


class Lane:
    """Runs functions in a thread, one at a time. One that hangs is left behind, and all after it are refused."""

    def __init__(self) -> None:
        self._under_way: asyncio.Future[object] | None = None

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function. Raises what it raises, and `Refused` if it takes too long or another has not ended."""
        if self._under_way is not None and not self._under_way.done():
            raise Refused(Reason.BUSY)
        running = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
        self._under_way = running  # type: ignore[assignment]
        # So that nobody having waited is no complaint of asyncio's.
        running.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        await asyncio.wait([running], timeout=TIME_LIMIT_S)
        if not running.done():
            raise Refused(Reason.BUSY)
        return running.result()
