"""The connections to one upstream: a few idle ones, newest first, and the making of new ones."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from subclaw.egress.http.link import Link
from subclaw.egress.http.wire import Wire
from subclaw.egress.limits import Limits


class Pool:
    """Connections to one upstream."""

    def __init__(self, dial: Callable[[], Awaitable[Wire]], limits: Limits) -> None:
        """`dial` makes a new connection, and raises `Refusal`."""
        self._dial = dial
        self._limits = limits
        self._idle: list[Link] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> Link | None:
        """Return an idle connection that still stands, if there is one."""
        while self._idle:
            link = self._idle.pop()
            link.wire.on_end = None
            if link.wire.quiet and link.kept_until_s > time.monotonic():
                return link
            link.wire.abort()
        return None

    async def connect(self) -> Link:
        """Connect anew. Errors: `Refusal` with 502 or 504."""
        return Link(await self._dial(), self._limits)

    def keep(self, link: Link) -> None:
        """Keep a connection for the next call, or close it: no more are kept than the limit says."""
        if not link.recycle() or len(self._idle) >= self._limits.pooled:
            link.wire.abort()
            return
        link.kept_until_s = time.monotonic() + link.keep_s
        link.wire.on_end = lambda: self._drop(link)
        self._idle.append(link)
        if self._timer is None:
            self._look_again_in(link.keep_s)

    @property
    def idle(self) -> bool:
        """Whether it keeps no connection."""
        return not self._idle

    def close(self) -> None:
        """Close all idle connections."""
        for link in list(self._idle):
            self._drop(link)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again_in(self, pause_s: float) -> None:
        """One timer does for all: connections are taken and kept with every call, and seldom wait for long."""
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._drop_what_is_late)

    def _drop_what_is_late(self) -> None:
        self._timer, now_s = None, time.monotonic()
        for link in [each for each in self._idle if each.kept_until_s <= now_s]:
            self._drop(link)
        if self._idle:
            self._look_again_in(min(link.kept_until_s for link in self._idle) - now_s)

    def _drop(self, link: Link) -> None:
        if link in self._idle:
            self._idle.remove(link)
            link.wire.on_end = None
            link.wire.abort()
