"""Which servers serve their visitors. Whoever keeps the sites is told of one that does not."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from subclaw.core.errors import SubclawError
from subclaw.core.site_health import Failing, Outcome, Trouble, after_visit, trouble_of
from subclaw.core.tenant import TenantId

Told = Callable[[TenantId, int, Trouble], Awaitable[None]]

logger = logging.getLogger(__name__)


class Health:
    """What is known of all servers that fail. All tasks run in the group that is given.

    It is in memory: after a restart of the host no server counts as new.
    """

    def __init__(self, group: asyncio.TaskGroup, told: Told, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._told = told
        self._clock = clock
        self._failing: dict[tuple[TenantId, int], Failing] = {}
        self._new: set[tuple[TenantId, int]] = set()

    def begin(self, tenant_id: TenantId, port: int) -> None:
        """Say that a server has passed its trial and is to be shown: it has served nobody yet."""
        self.forget(tenant_id, port)
        self._new.add((tenant_id, port))

    def note(self, tenant_id: TenantId, port: int, outcome: Outcome) -> None:
        """Say how a visit went."""
        key, now_s = (tenant_id, port), self._clock()
        if outcome is Outcome.SERVED:
            self._new.discard(key)
        failing = after_visit(self._failing.pop(key, None), now_s, outcome)
        if trouble := trouble_of(failing, now_s, is_new=key in self._new):
            self._group.create_task(self._tell(tenant_id, port, trouble))
        elif failing is not None:
            self._failing[key] = failing

    def forget(self, tenant_id: TenantId, port: int) -> None:
        """Forget a port to which nothing leads any more."""
        self._failing.pop((tenant_id, port), None)
        self._new.discard((tenant_id, port))

    async def _tell(self, tenant_id: TenantId, port: int, trouble: Trouble) -> None:
        logger.warning("port %d of machine %s: %s", port, tenant_id, trouble.value)
        try:
            await self._told(tenant_id, port, trouble)
        except SubclawError as error:
            logger.warning("nobody could be told of port %d of machine %s: %s", port, tenant_id, error.internal)
