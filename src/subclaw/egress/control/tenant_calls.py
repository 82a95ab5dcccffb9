"""Calls that the control plane makes for a tenant: those of an agent's tools, which run on the host and on no machine.

They are decided on as those of the tenant's machine are: by the same rules and those that are for the agent's tools
alone, with secrets in the place of their placeholders, within the same quota, and they are in the same log. The control
plane says whose a call is; what a tool writes never does.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from subclaw.core.tenant import TenantId
from subclaw.egress.control.tenant_path import PREFIX
from subclaw.egress.http.door import Door
from subclaw.egress.http.exchange import Record
from subclaw.egress.http.request import Request
from subclaw.egress.http.serving import as_refusal
from subclaw.egress.machines.machine import Machine
from subclaw.egress.machines.machines import Machines
from subclaw.egress.machines.requests import Requests
from subclaw.egress.refusal import Refusal

KEPT_LIMIT = 4_096
"""Of how many tenants it is kept what they may reach."""
IDLE_S = 60.0
"""For how long that is kept while nobody calls."""

_TARGET = re.compile(
    re.escape(PREFIX) + r"([1-9][0-9]{0,18})/(https?)/([a-z0-9.-]{1,253}):([1-9][0-9]{0,4})(/.*|\?.*)?", re.DOTALL
)


@dataclass(eq=False, kw_only=True)
class _Kept:
    """What a tenant may reach, as it is kept; `users` are the calls under way."""

    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    machine: Machine | None = None
    users: int = 0
    idle_since_s: float = 0.0


class TenantCalls:
    """Answers those calls. What each tenant may reach is kept for a while, and follows every change."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._kept: OrderedDict[TenantId, _Kept] = OrderedDict()

    async def answer(self, door: Door, request: Request, outer: Record) -> bool:
        """Answer a request below `PREFIX`. See `serving.Answer`; what is decided is in the tenant's log."""
        tenant_id, scheme, authority, port, target = _read(request)
        others = [pair for pair in request.headers if pair[0].lower() != b"host"]
        inner = replace(request, target=target, headers=[(b"host", authority), *others], likeness=None)
        async with self._machine(tenant_id) as machine:
            requests, record = Requests(machine=machine, tls=scheme == "https", port=port), Record()
            reason = "cut"
            try:
                goes_on = await requests.answer(door, inner, record)
                reason = ""
            except Exception as error:
                refusal = as_refusal(error)
                reason = refusal.internal
                if record.allowed or not isinstance(error, Refusal):
                    raise
                # Without the advice that is for agents on machines, and with the word that nobody was asked.
                raise Refusal(refusal.status, reason, unsent=True) from None
            finally:
                requests.report(record, 0.0, reason)
                outer.status, outer.sent_bytes = record.status, record.sent_bytes
                outer.received_bytes = record.received_bytes
            return goes_on

    async def close(self) -> None:
        """Forget every tenant."""
        while self._kept:
            _, kept = self._kept.popitem()
            await kept.stack.aclose()

    @asynccontextmanager
    async def _machine(self, tenant_id: TenantId) -> AsyncIterator[Machine]:
        """Give what a tenant may reach. This call ends when it loses what it goes to. Errors: `Refusal`."""
        await self._forget_idle()
        kept = self._kept.setdefault(tenant_id, _Kept())
        self._kept.move_to_end(tenant_id)
        kept.users += 1
        try:
            async with kept.opening:
                if kept.machine is None:
                    opened = self._machines.opened(tenant_id, for_tools=True)
                    kept.machine = await kept.stack.enter_async_context(opened)
            with kept.machine.connection() as allowed:
                if not allowed:
                    raise Refusal(429, "the tools of this customer have made too many calls; wait", unsent=True)
                yield kept.machine
        finally:
            kept.users -= 1
            kept.idle_since_s = asyncio.get_running_loop().time()

    async def _forget_idle(self) -> None:
        """Forget who has not called for long, and the oldest of too many: those are first."""
        now_s = asyncio.get_running_loop().time()
        for tenant_id, kept in list(self._kept.items())[:8]:
            if not kept.users and (len(self._kept) > KEPT_LIMIT or now_s - kept.idle_since_s > IDLE_S):
                del self._kept[tenant_id]
                await kept.stack.aclose()


def _read(request: Request) -> tuple[TenantId, str, bytes, int, bytes]:
    found = _TARGET.fullmatch(request.target.decode("ascii"))
    if found is None or int(found[4]) > 65_535:
        raise Refusal(400, "that is no call for a tenant", unsent=True)
    rest = found[5] or "/"
    target = rest if rest.startswith("/") else "/" + rest
    usual = {"https": 443, "http": 80}[found[2]]
    port = int(found[4])
    authority = found[3] if port == usual else f"{found[3]}:{port}"
    return TenantId(int(found[1])), found[2], authority.encode(), port, target.encode()
