"""Attention: what a turn takes notice of while a step of it is under way, and what ends that step."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

T = TypeVar("T")


class Halt(Enum):
    """Why a step was ended: the person said stop, said something else that comes first, or the time is over."""

    STOP = auto()
    INTERRUPT = auto()
    OVERDUE = auto()


Look = Callable[[], Awaitable[Halt | None]]


class Attention:
    """A turn's attention. `said` is set when something was said; `look` then says what it means for the turn.

    `time_left_s` is how long the turn may still take.
    """

    def __init__(self, said: asyncio.Event, look: Look, time_left_s: float) -> None:
        self._said = said
        self._look = look
        self._deadline_s = asyncio.get_running_loop().time() + time_left_s

    async def during(self, step: Callable[[], Awaitable[T]]) -> T | Halt:
        """Do a step and return what came of it, or why it was cancelled or not even begun."""
        if halt := await self._halted():
            return halt
        doing = asyncio.ensure_future(step())
        try:
            while not await self._done_or_disturbed(doing):
                if halt := await self._halted():
                    return halt
            return doing.result()
        finally:
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # nobody waits for what it came to
                await doing

    async def _halted(self) -> Halt | None:
        if self._left_s() <= 0:
            return Halt.OVERDUE
        if not self._said.is_set():
            return None
        self._said.clear()
        return await self._look()

    async def _done_or_disturbed(self, doing: "asyncio.Future[T]") -> bool:
        disturbance = asyncio.ensure_future(self._said.wait())
        try:
            await asyncio.wait((doing, disturbance), timeout=self._left_s(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            disturbance.cancel()
        return doing.done()

    def _left_s(self) -> float:
        return max(0.0, self._deadline_s - asyncio.get_running_loop().time())
