"""Showing people that their agent is at work, in channels that can; nothing ever waits for it."""

import asyncio
import logging
from collections.abc import Mapping

from subclaw.core.channel import Address, Channel, ShowsTyping

log = logging.getLogger(__name__)

FIRST_S, AGAIN_S = 0.5, 4.0
"""When it is first shown (a reply that comes sooner needs none), and how often after that: it is shown for some 5 s."""

SHOWN_LIMIT_S = 600.0
"""How long a turn is shown for at most."""

CALL_LIMIT_S = 4.0
AT_ONCE = 16
"""Most calls at once. Whoever finds no room is shown at the next time."""


class Typist:
    """Shows for each conversation whose turn runs here that it does."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels
        self._shown: dict[int, tuple[Address, float]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._some = asyncio.Event()

    def begins(self, conversation_id: int, to: Address) -> None:
        """Say that a turn runs."""
        if isinstance(self._channels.get(to.channel), ShowsTyping):
            self._shown.setdefault(conversation_id, (to, asyncio.get_running_loop().time()))
            self._some.set()

    def ended(self, conversation_id: int) -> None:
        """Say that it does not any more."""
        self._shown.pop(conversation_id, None)
        if not self._shown:
            self._some.clear()

    async def run(self) -> None:
        """Show what there is to show, until cancelled."""
        due: dict[int, float] = {}
        async with asyncio.TaskGroup() as group:
            while await self._some.wait():
                await asyncio.sleep(FIRST_S)
                now_s = asyncio.get_running_loop().time()
                due = {id: due.get(id, began_s + FIRST_S) for id, (_, began_s) in self._shown.items()}
                for id, (to, began_s) in self._shown.items():
                    if due[id] <= now_s < began_s + SHOWN_LIMIT_S and len(self._calls) < AT_ONCE:
                        due[id] = now_s + AGAIN_S
                        task = group.create_task(self._show(to))
                        self._calls.add(task)
                        task.add_done_callback(self._calls.discard)

    async def _show(self, to: Address) -> None:
        channel = self._channels[to.channel]
        assert isinstance(channel, ShowsTyping)
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                await channel.typing(to)
        except Exception as error:  # a channel's defect must not stop turns
            log.info("%s: typing was not shown: %s", to.channel, type(error).__name__)
