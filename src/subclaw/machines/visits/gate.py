"""Who is let in: a visit wakes a machine once, however many come, within its tenant's limits."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from subclaw.core.errors import SubclawError
from subclaw.core.tenant import TenantId
from subclaw.core.waking import Bucket, Refusal, VisitLimits, is_robot, taken
from subclaw.machines.visits.head import RequestHead

HOUR_S = 3_600.0
VISITORS_KEPT = 16_384
"""Of how many visitors it is known how much they asked; those who came last."""

logger = logging.getLogger(__name__)


class Sleepers(Protocol):
    """The machines, as far as whoever lets visitors in must know them."""

    def visits_left_s(self, tenant_id: TenantId) -> float | None:
        """Return for how long visits may keep a machine awake that is so, or is starting; None if it sleeps."""
        ...

    async def visits_left_asleep_s(self, tenant_id: TenantId) -> float:
        """Return for how long they might if it were woken. Raises `Unavailable`."""
        ...

    async def wake(self, tenant_id: TenantId) -> None:
        """Start a machine. Raises `SubclawError`."""
        ...


class Gate:
    """Lets visitors in. What it knows of rates is in memory: after a restart of the host everybody begins anew."""

    def __init__(self, machines: Sleepers, limits: VisitLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._machines = machines
        self._limits = limits
        self._clock = clock
        self._visitors: OrderedDict[tuple[TenantId, str], Bucket] = OrderedDict()
        self._wakes: OrderedDict[TenantId, Bucket] = OrderedDict()
        self._waking: dict[TenantId, asyncio.Task[Refusal | None]] = {}

    async def admit(self, tenant_id: TenantId, head: RequestHead) -> Refusal | None:
        """Have the machine up for a visit, or say why it is not served."""
        if not self._is_slow_enough(tenant_id, head.visitor):
            return Refusal.TOO_FAST
        left_s = self._machines.visits_left_s(tenant_id)
        if left_s is not None:
            return Refusal.SPENT if left_s <= 0 else None
        if is_robot(head.user_agent):
            return Refusal.ROBOT
        return await asyncio.shield(self._woken(tenant_id))

    def _is_slow_enough(self, tenant_id: TenantId, visitor: str) -> bool:
        now_s, limits = self._clock(), self._limits
        bucket = self._visitors.pop((tenant_id, visitor), None)
        after = taken(bucket, now_s, per_s=limits.requests_per_s, most=limits.burst)
        if kept := after or bucket:
            self._visitors[tenant_id, visitor] = kept
        if len(self._visitors) > VISITORS_KEPT:
            self._visitors.popitem(last=False)
        return after is not None

    def _woken(self, tenant_id: TenantId) -> asyncio.Task[Refusal | None]:
        """Return the one waking that is under way, begun if there is none."""
        waking = self._waking.get(tenant_id)
        if waking is None:
            waking = self._waking[tenant_id] = asyncio.ensure_future(self._wake(tenant_id))
            waking.add_done_callback(lambda _: self._waking.pop(tenant_id))
        return waking

    async def _wake(self, tenant_id: TenantId) -> Refusal | None:
        try:
            if await self._machines.visits_left_asleep_s(tenant_id) <= 0:
                return Refusal.SPENT
            if not self._may_wake(tenant_id):
                logger.warning("visitors woke machine %s too often", tenant_id)
                return Refusal.TOO_OFTEN
            await self._machines.wake(tenant_id)
        except SubclawError as error:
            logger.info("visitors do not wake machine %s: %s", tenant_id, error.internal)
            return Refusal.AWAY
        return None

    def _may_wake(self, tenant_id: TenantId) -> bool:
        most = self._limits.wakes_per_hour
        bucket = self._wakes.pop(tenant_id, None)
        after = taken(bucket, self._clock(), per_s=most / HOUR_S, most=most)
        if kept := after or bucket:
            self._wakes[tenant_id] = kept
        if len(self._wakes) > VISITORS_KEPT:
            self._wakes.popitem(last=False)
        return after is not None
