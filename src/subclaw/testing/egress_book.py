"""The egress gateway's book in memory, which can be down, and can keep whoever reads it waiting."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from subclaw.core.errors import Unavailable
from subclaw.core.secret import MintedSecret
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount, TenantPolicy, Traffic


class MemoryEgressBook:
    """See `core.tenant_egress.EgressBook`. A tenant that nothing is known of may reach nothing."""

    def __init__(self) -> None:
        self.decisions: list[DecisionCount] = []
        self.traffic: dict[TenantId, list[Traffic]] = {}
        self.used: list[int] = []
        self.down = False
        self.reads = 0
        self.prunings = 0
        self.open = asyncio.Event()
        """While it is not set, whoever asks what was used today waits."""
        self.open.set()
        self._policies: dict[TenantId, TenantPolicy] = {}
        self._told: list[Callable[[TenantId | None], None]] = []

    def put(self, tenant_id: TenantId, policy: TenantPolicy) -> None:
        """Let a policy hold for a tenant, and say so."""
        self._policies[tenant_id] = policy
        for tell in self._told:
            tell(tenant_id)

    async def policy(self, tenant_id: TenantId) -> TenantPolicy:
        """See `EgressBook.policy`."""
        self._answer()
        self.reads += 1
        return self._policies.get(tenant_id, TenantPolicy())

    async def used_today(self, tenant_id: TenantId) -> Traffic:
        """See `EgressBook.used_today`."""
        await self.open.wait()
        self._answer()
        return Traffic()

    async def record(
        self, decisions: Sequence[DecisionCount], used: Mapping[TenantId, Traffic], secrets: Collection[int]
    ) -> None:
        """See `EgressBook.record`."""
        self._answer()
        self.decisions += decisions
        for tenant_id, traffic in used.items():
            self.traffic.setdefault(tenant_id, []).append(traffic)
        self.used += secrets

    async def keep_minted(self, tenant_id: TenantId, minted_by: int, secrets: Sequence[MintedSecret]) -> Sequence[int]:
        """See `EgressBook.keep_minted`. Nothing is kept."""
        self._answer()
        return []

    async def prune(self) -> None:
        """See `EgressBook.prune`."""
        self.prunings += 1
        self._answer()

    async def changes(self, on_change: Callable[[TenantId | None], None]) -> None:
        """See `EgressBook.changes`."""
        self._told.append(on_change)
        on_change(None)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._told.remove(on_change)

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("The book is away.")
