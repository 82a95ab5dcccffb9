"""Attention: what a turn takes notice of while a step of it is under way, and what ends that step."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

T = TypeVar("T")


class Halt(Enum):
    """Why a turn does not go on with its step.

    The person said stop, or something else that comes first; the turn's time is over; the worker closes.
    """

    STOP = auto()
    INTERRUPT = auto()
    OVERDUE = auto()
    CLOSING = auto()


class Notice:
    """What a turn is told from outside while it runs: that something was said, that its worker closes."""

    def __init__(self) -> None:
        self.said = False
        self.closing = False
        self._news = False
        self._waiting: asyncio.Future[None] | None = None

    def tell_said(self) -> None:
        """Tell that something was said in the conversation."""
        self.said = True
        self._tell()

    def tell_closing(self) -> None:
        """Tell that the worker closes, and somebody else is to go on with the turn."""
        self.closing = True
        self._tell()

    def _tell(self) -> None:
        self._news = True
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    def told(self) -> "asyncio.Future[None]":
        """Return a future that is done once there is something told that was not heard; the one before is given up."""
        self._waiting = asyncio.get_running_loop().create_future()
        if self._news:
            self._waiting.set_result(None)
        return self._waiting

    def heard(self) -> None:
        """Say that what was told is known."""
        self._news = False


Look = Callable[[], Awaitable[Halt | None]]


class Attention:
    """A turn's attention. After something was said, `look` says what it means for the turn.

    `time_left_s` is how long the turn may still take.
    """

    def __init__(self, notice: Notice, look: Look, time_left_s: float) -> None:
        self._notice = notice
        self._look = look
        self._deadline_s = asyncio.get_running_loop().time() + time_left_s

    async def halted(self) -> Halt | None:
        """Say whether the turn is not to go on, and why."""
        if self._left_s() <= 0:
            return Halt.OVERDUE
        if self._notice.said:
            self._notice.said = False
            if halt := await self._look():
                return halt
        return Halt.CLOSING if self._notice.closing else None

    async def during(self, step: Callable[[], Awaitable[T]], *, closing_waits: bool) -> T | Halt:
        """Do a step and return what came of it, or why it was cancelled. With `closing_waits` it is ended before that.

        A worker that closes asks a model in vain, but what a tool has begun can be finished.
        """
        doing = asyncio.ensure_future(step())
        try:
            while not await self._done_or_disturbed(doing):
                halt = await self.halted()
                if halt and not (halt is Halt.CLOSING and closing_waits):
                    return halt
            return doing.result()
        finally:
            doing.cancel()
            await asyncio.wait([doing])
            if not doing.cancelled():
                doing.exception()  # nobody waits for what it came to

    async def _done_or_disturbed(self, doing: "asyncio.Future[T]") -> bool:
        told = self._notice.told()
        await asyncio.wait((doing, told), timeout=self._left_s(), return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            self._notice.heard()
        return doing.done()

    def _left_s(self) -> float:
        return max(0.0, self._deadline_s - asyncio.get_running_loop().time())
