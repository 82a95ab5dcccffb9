"""The journal: what was decided and used, counted together and written down every few seconds."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount, EgressBook, Traffic
from subclaw.egress.machines.machine import Noted
from subclaw.egress.machines.meter import sum_of

WRITE_EVERY_S = 2.0
PRUNE_EVERY_S = 3_600.0
DIFFERENT_LIMIT = 1_000
"""Different decisions of one machine that are kept until they are written; all beyond that are counted as one."""
PATH_LIMIT_CHARACTERS = 1_000
"""How much of a path is kept."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Count:
    count: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    last_at_s: float = 0.0
    """In seconds since 1970."""

    def add(self, count: int, sent_bytes: int, received_bytes: int, last_at_s: float) -> None:
        """Count more of the same decision."""
        self.count += count
        self.sent_bytes += sent_bytes
        self.received_bytes += received_bytes
        self.last_at_s = max(self.last_at_s, last_at_s)


class Journal:
    """Collects notes, and writes them to a book. What cannot be written is kept for the next time."""

    def __init__(self, book: EgressBook) -> None:
        self._book = book
        self._decisions: dict[TenantId, dict[Noted, _Count]] = {}
        self._traffic: dict[TenantId, Traffic] = {}
        self._used: set[int] = set()

    def note(self, tenant_id: TenantId, noted: Noted, sent_bytes: int, received_bytes: int) -> None:
        """Take a decision; see `machine.Note`."""
        if len(noted.path) > PATH_LIMIT_CHARACTERS:
            noted = noted._replace(path=noted.path[:PATH_LIMIT_CHARACTERS])
        self._count_of(tenant_id, noted).add(1, sent_bytes, received_bytes, time.time())

    def _count_of(self, tenant_id: TenantId, noted: Noted) -> _Count:
        """Return where a decision is counted."""
        decisions = self._decisions.setdefault(tenant_id, {})
        count = decisions.get(noted)
        if count is None:
            if len(decisions) >= DIFFERENT_LIMIT:
                noted = Noted(host="*", port=0, method="*", path="*", allowed=noted.allowed)
            count = decisions.setdefault(noted, _Count())
        return count

    def note_traffic(self, tenant_id: TenantId, traffic: Traffic) -> None:
        """Take what a machine has used."""
        if traffic != Traffic():
            self._traffic[tenant_id] = sum_of(self._traffic.get(tenant_id, Traffic()), traffic)

    def note_used(self, secrets: frozenset[int]) -> None:
        """Take the ids of secrets that were put into a request."""
        self._used.update(secrets)

    async def keep(self, gather: Callable[[], None]) -> None:
        """Write down what there is, every few seconds and at the end. `gather` is called before each time."""
        pruned_at = float("-inf")
        try:
            while True:
                gather()
                with contextlib.suppress(Unavailable):
                    await self.write()
                    if asyncio.get_running_loop().time() - pruned_at > PRUNE_EVERY_S:
                        pruned_at = asyncio.get_running_loop().time()
                        await self._book.prune()
                await asyncio.sleep(WRITE_EVERY_S)
        finally:
            gather()
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self.write()

    async def write(self) -> None:
        """Write down what there is. Errors: `Unavailable`; it is then still here."""
        decisions, traffic, used = self._decisions, self._traffic, self._used
        self._decisions, self._traffic, self._used = {}, {}, set()
        try:
            counted = [_counted(tenant_id, *one) for tenant_id, each in decisions.items() for one in each.items()]
            await self._book.record(counted, traffic, list(used))
        except Unavailable:
            self._put_back(decisions, traffic, used)
            raise

    def _put_back(
        self,
        decisions: dict[TenantId, dict[Noted, _Count]],
        traffic: dict[TenantId, Traffic],
        used: set[int],
    ) -> None:
        """Keep what could not be written, as far as there is room for it."""
        for tenant_id, used_traffic in traffic.items():
            self.note_traffic(tenant_id, used_traffic)
        self._used.update(used)
        for tenant_id, before in decisions.items():
            for noted, count in before.items():
                more = (count.count, count.sent_bytes, count.received_bytes, count.last_at_s)
                self._count_of(tenant_id, noted).add(*more)


def _counted(tenant_id: TenantId, noted: Noted, count: _Count) -> DecisionCount:
    return DecisionCount(
        tenant_id=tenant_id,
        host=noted.host,
        port=noted.port,
        method=noted.method,
        path=noted.path,
        allowed=noted.allowed,
        mode=noted.mode,
        reason=noted.reason,
        count=count.count,
        sent_bytes=count.sent_bytes,
        received_bytes=count.received_bytes,
        last_at=datetime.fromtimestamp(count.last_at_s, UTC),
    )
