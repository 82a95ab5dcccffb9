"""Which servers answer their visitors. Whoever keeps the sites is told of one that has stopped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from subclaw.core.errors import SubclawError
from subclaw.core.site_health import Failing, after_visit, has_stopped
from subclaw.core.tenant import TenantId

Stopped = Callable[[TenantId, int], Awaitable[None]]

logger = logging.getLogger(__name__)


class Health:
    """What is known of all servers that do not answer. All tasks run in the group that is given."""

    def __init__(self, group: asyncio.TaskGroup, stopped: Stopped, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._stopped = stopped
        self._clock = clock
        self._failing: dict[tuple[TenantId, int], Failing] = {}

    def note(self, tenant_id: TenantId, port: int, *, is_answered: bool) -> None:
        """Say how a visit went."""
        key, now_s = (tenant_id, port), self._clock()
        failing = after_visit(self._failing.pop(key, None), now_s, is_answered=is_answered)
        if has_stopped(failing, now_s):
            self._group.create_task(self._tell(tenant_id, port))
        elif failing is not None:
            self._failing[key] = failing

    def forget(self, tenant_id: TenantId, port: int) -> None:
        """Forget a port to which nothing leads any more."""
        self._failing.pop((tenant_id, port), None)

    async def _tell(self, tenant_id: TenantId, port: int) -> None:
        logger.warning("port %d of machine %s has stopped answering visitors", port, tenant_id)
        try:
            await self._stopped(tenant_id, port)
        except SubclawError as error:
            logger.warning("nobody could be told of port %d of machine %s: %s", port, tenant_id, error.internal)
