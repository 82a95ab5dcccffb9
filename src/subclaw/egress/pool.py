"""The connections to one upstream: a few idle ones, newest first, and the making of new ones."""

import asyncio
import ssl
from dataclasses import dataclass

from subclaw.egress.destination import Destination
from subclaw.egress.limits import Limits
from subclaw.egress.link import Link
from subclaw.egress.refusal import Refusal
from subclaw.egress.wire import Wire


@dataclass(kw_only=True)
class _Idle:
    link: Link
    expiry: asyncio.TimerHandle


class Pool:
    """Connections to one upstream."""

    def __init__(self, name: str, destination: Destination, limits: Limits, tls: ssl.SSLContext | None) -> None:
        """`tls` verifies the upstream; it is needed if the destination is https."""
        self._name = name
        self._destination = destination
        self._limits = limits
        self._tls = tls if destination.tls else None
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
        where = self._destination
        server_hostname = where.host if self._tls else None
        try:
            async with asyncio.timeout(self._limits.connect_s):
                _, wire = await asyncio.get_running_loop().create_connection(
                    Wire, where.host, where.port, ssl=self._tls, server_hostname=server_hostname
                )
        except TimeoutError:
            raise Refusal(504, f"the upstream {self._name} did not accept a connection in time") from None
        except ssl.SSLCertVerificationError:
            raise Refusal(502, f"the certificate of the upstream {self._name} cannot be verified") from None
        except OSError as error:
            raise Refusal(
                502, f"the upstream {self._name} cannot be reached", internal=f"connect: {type(error).__name__}"
            ) from None
        return Link(wire, self._limits)

    def keep(self, link: Link) -> None:
        """Keep a connection for the next call, or close it: no more are kept than the limit says."""
        if not link.recycle() or len(self._idle) >= self._limits.pooled:
            link.wire.abort()
            return
        expiry = asyncio.get_running_loop().call_later(link.keep_s, self._drop, link)
        link.wire.on_end = lambda: self._drop(link)
        self._idle.append(_Idle(link=link, expiry=expiry))

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
