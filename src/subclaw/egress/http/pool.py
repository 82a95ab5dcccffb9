"""The connections to one upstream: a few idle ones, newest first, and the making of new ones."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from subclaw.egress.http.link import Link
from subclaw.egress.http.wire import Wire
from subclaw.egress.limits import Limits


@dataclass(kw_only=True)
class _Idle:
    link: Link
    expiry: asyncio.TimerHandle


class Pool:
    """Connections to one upstream."""

    def __init__(self, dial: Callable[[], Awaitable[Wire]], limits: Limits) -> None:
        """`dial` makes a new connection, and raises `Refusal`."""
        self._dial = dial
        self._limits = limits
        self._idle: list[_Idle] = []

    def take(self) -> Link | None:
        """Return an idle connection that still stands, if there is one."""
        while self._idle:
            idle = self._idle.pop()
            idle.expiry.cancel()
            idle.link.wire.on_end = None
            if idle.link.wire.quiet:
                return idle.link
            idle.link.wire.abort()
        return None

    async def connect(self) -> Link:
        """Connect anew. Errors: `Refusal` with 502 or 504."""
        return Link(await self._dial(), self._limits)

    def keep(self, link: Link) -> None:
        """Keep a connection for the next call, or close it: no more are kept than the limit says."""
        if not link.recycle() or len(self._idle) >= self._limits.pooled:
            link.wire.abort()
            return
        expiry = asyncio.get_running_loop().call_later(link.keep_s, self._drop, link)
        link.wire.on_end = lambda: self._drop(link)
        self._idle.append(_Idle(link=link, expiry=expiry))

    @property
    def idle(self) -> bool:
        """Whether it keeps no connection."""
        return not self._idle

    def close(self) -> None:
        """Close all idle connections."""
        for idle in list(self._idle):
            self._drop(idle.link)

    def _drop(self, link: Link) -> None:
        for idle in self._idle:
            if idle.link is link:
                self._idle.remove(idle)
                idle.expiry.cancel()
                link.wire.on_end = None
                link.wire.abort()
                return
