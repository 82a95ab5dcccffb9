"""A machine, as the gateway knows it: whose it is, what it may reach, and what it has open.

The tools of a customer's agent, which run on the host, are known in the same way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from subclaw.core.completion import HOST
from subclaw.core.errors import Denied
from subclaw.core.policy import Opening
from subclaw.core.secret import BoundSecret
from subclaw.core.tenant import TenantId
from subclaw.egress.http.pool import Pool
from subclaw.egress.http.wire import Wire
from subclaw.egress.limits import Limits
from subclaw.egress.machines.access import MINTED_LIMIT, Access
from subclaw.egress.machines.certificates import Authority
from subclaw.egress.machines.inside import Inside
from subclaw.egress.machines.meter import Meter
from subclaw.egress.names.server import Rate
from subclaw.egress.outside import Outside, dial_host
from subclaw.egress.secrets.minted import Minted

POOLS_LIMIT = 128
"""Hosts of one machine to which connections are kept."""


class Noted(NamedTuple):
    """A decision on a connection or a request, for the log of decisions. `path` is without the query.

    A tuple, because equal ones are counted together: there is one to be made, and to be looked up, for each request.
    """

    host: str
    port: int
    allowed: bool
    method: str = ""
    path: str = ""
    mode: str = ""
    reason: str = ""


Note = Callable[[TenantId, Noted, int, int], None]
"""Takes a decision, and how many bytes of content were then sent and received."""


@dataclass(eq=False, kw_only=True)
class Machine:
    """One machine that is awake. What it may reach is replaced whole when something changes."""

    tenant_id: TenantId
    authority: Authority
    access: Access
    meter: Meter
    outside: Outside
    limits: Limits
    note: Note
    inside: Inside | None = None
    """The control plane, if machines may ask it."""
    used: Callable[[frozenset[int]], None]
    """Takes the ids of the secrets that were put into a request."""
    mint: "Mint"
    renew: "Renew"
    name_key: bytes
    """Decides which addresses names have for this machine (`dns.answer`)."""
    name_rate: Rate
    """How many names it may ask for."""
    for_tools: bool = False
    """Whether this is no machine, but what an agent's tools do for the tenant."""
    _turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    _minted: list[tuple[float, BoundSecret]] = field(default_factory=list)
    _pools: dict[tuple[str, int, bool], Pool] = field(default_factory=dict)
    _open: dict[asyncio.Task[object], tuple[str, int] | None] = field(default_factory=dict)

    def add_minted(self, secrets: Sequence[BoundSecret]) -> None:
        """Let secrets hold at once that came in an answer."""
        now_s = asyncio.get_running_loop().time()
        self._minted = [*self._minted, *((now_s, secret) for secret in secrets)][-MINTED_LIMIT:]
        self.access = self.access.with_minted(secrets)

    def change(self, access: Access, *, known_at_s: float) -> None:
        """Let other rules and secrets hold, which were so at a time. Connections to what changed with them end.

        What was minted since then stays: whoever made them could not know of it.
        """
        self._minted = [(at_s, secret) for at_s, secret in self._minted if at_s >= known_at_s]
        access = access.with_minted([secret for _, secret in self._minted])
        before, self.access = self.access, access
        for task, where in list(self._open.items()):
            if where is not None and not access.allows_what(before, *where):
                task.cancel()
        for host, port, tls in list(self._pools):
            if not access.allows_what(before, host, port):
                self._pools.pop((host, port, tls)).close()

    @contextlib.contextmanager
    def connection(self) -> Iterator[bool]:
        """Count the connection that this task serves; give whether the machine may have one more."""
        task = asyncio.current_task()
        assert task is not None
        allowed = self.meter.begin_connection()
        self._open[task] = None
        try:
            yield allowed
        finally:
            del self._open[task]
            if allowed:
                self.meter.end_connection()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for this machine's turn to do what takes the processor long, such as a step of a TLS handshake.

        Of one machine's connections only one has it at a time, and then those of the others go on: otherwise a machine
        that opens hundreds at once would have all of the others wait.
        """
        async with self._turns:
            try:
                yield
            finally:
                await asyncio.sleep(0)

    def serving(self) -> list[asyncio.Task[object]]:
        """List the tasks that serve this machine's connections."""
        return list(self._open)

    def bound_for(self, host: str, port: int) -> None:
        """Say which host the connection that this task serves goes to, so that it ends when that is open no more.

        A task that serves only a part of a connection, such as a stream, says nothing by it: that ends with the whole.
        """
        task = asyncio.current_task()
        assert task is not None
        if task in self._open:
            self._open[task] = (host, port)

    def pool(self, opening: Opening, *, tls: bool) -> Pool:
        """Return the connections to a host. They are this machine's alone."""
        key = (opening.host, opening.port, tls)
        pool = self._pools.get(key)
        if pool is None:
            self._forget_idle_pools()
            pool = self._pools[key] = Pool(lambda: self.dial(opening, tls=tls), self.limits)
        return pool

    async def dial(self, opening: Opening, *, tls: bool) -> Wire:
        """Connect to a host anew: its name is resolved and what it resolves to is checked each time.

        Errors: `Refusal`, `Unavailable`; `Denied` if it must not be reached where its name leads.
        """
        if opening.host == HOST:  # whatever rules, modes and addresses it was given: only `Inside` leads there
            raise Denied(f"{HOST} is reached by HTTP alone.")
        return await dial_host(
            self.outside, opening.host, opening.port, opening.addresses, tls=tls, connect_s=self.limits.connect_s
        )

    def close(self) -> None:
        """End what is kept open."""
        for pool in self._pools.values():
            pool.close()
        if self.inside:
            self.inside.close()

    def _forget_idle_pools(self) -> None:
        if len(self._pools) >= POOLS_LIMIT:
            self._pools = {key: pool for key, pool in self._pools.items() if not pool.idle}


Mint = Callable[[Machine, BoundSecret, Mapping[str, Minted]], Awaitable[None]]
"""Keeps keys that came in an answer to a request with a secret in it, by their placeholders.

Errors: `Refusal` if that secret is gone, `Unavailable`.
"""

Renew = Callable[[Machine, BoundSecret], Awaitable[None]]
"""Has an account's secret renewed and hold for the machine. Errors: `Unavailable`, `Corrupt`."""
