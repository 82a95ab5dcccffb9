"""What is said to people whose messages are not handed in: nobody's conversation, so nothing that the outbox knows."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

AGAIN_S = 3_600.0
"""How long the same words are not said to the same person again."""

REMEMBERED = 10_000
AT_ONCE = 4
WAITING_LIMIT = 100
CALL_LIMIT_S = 10.0

Say = Callable[[str, str], Awaitable[None]]
"""Says words to an address. May raise anything: it is written down, and nothing follows from it."""


class Notices:
    """Says the same once an hour at most to each person, and drops things where there are too many."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def say(self, address: str, words: str) -> None:
        """Say words to a person, if they were not said before. Never raises for what the provider says."""
        if self._waiting >= WAITING_LIMIT or not self._is_new((address, words)):
            return
        self._waiting += 1
        try:
            async with self._room, asyncio.timeout(CALL_LIMIT_S):
                await self._say(address, words)
        except Exception as error:  # nobody waits for it
            log.warning("a notice was not said: %s", type(error).__name__)
        finally:
            self._waiting -= 1

    def _is_new(self, notice: tuple[str, str]) -> bool:
        now_s = asyncio.get_running_loop().time()
        said_s = self._said.get(notice)
        if said_s is not None and said_s > now_s - AGAIN_S:
            return False
        self._said[notice] = now_s
        self._said.move_to_end(notice)
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return True
