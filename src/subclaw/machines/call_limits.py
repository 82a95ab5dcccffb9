"""How many calls of the host's API may be under way, in all and for one tenant: more are refused, not queued."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from subclaw.core.errors import Exhausted

CALLS_LIMIT = 1_024
CALLS_PER_TENANT = 64


class CallCount:
    """The calls that are under way, by tenant."""

    def __init__(self, limit: int = CALLS_LIMIT, limit_per_tenant: int = CALLS_PER_TENANT) -> None:
        self._limit = limit
        self._limit_per_tenant = limit_per_tenant
        self._calls: Counter[int] = Counter()

    @contextmanager
    def counted(self, tenant: int) -> Iterator[None]:
        """Count a call of a tenant's while the body runs. Raises `Exhausted` if there are too many."""
        if self._calls[tenant] >= self._limit_per_tenant:
            raise Exhausted("This machine is asked to do too many things at once. Try again in a moment.")
        if self._calls.total() >= self._limit:
            raise Exhausted("The host of machines is asked to do too many things at once. Try again in a moment.")
        self._calls[tenant] += 1
        try:
            yield
        finally:
            self._calls[tenant] -= 1
            if not self._calls[tenant]:
                del self._calls[tenant]


class Counted:
    """A route (ASGI) whose calls are counted until all of their answer is sent."""

    def __init__(self, app: ASGIApp, count: CallCount) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        with self._count.counted(scope["path_params"]["tenant"]):
            await self._app(scope, receive, send)
