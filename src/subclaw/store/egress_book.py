"""The egress gateway's book in the database."""

from collections.abc import Callable, Collection, Mapping, Sequence

from subclaw.core.secret import MintedSecret
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount, TenantPolicy, Traffic
from subclaw.store import egress_log, secrets, tenant_egress
from subclaw.store.database import Database, DatabaseAddress


class StoreEgressBook:
    """See `core.tenant_egress.EgressBook`. The database is open in the gateway's role."""

    def __init__(self, egress: Database, address: DatabaseAddress) -> None:
        self._egress = egress
        self._address = address

    async def policy(self, tenant_id: TenantId) -> TenantPolicy:
        """See `EgressBook.policy`."""
        return await tenant_egress.load_policy(self._egress, tenant_id)

    async def used_today(self, tenant_id: TenantId) -> Traffic:
        """See `EgressBook.used_today`."""
        return await egress_log.usage_today(self._egress, tenant_id)

    async def record(
        self, decisions: Sequence[DecisionCount], used: Mapping[TenantId, Traffic], ids: Collection[int]
    ) -> None:
        """See `EgressBook.record`."""
        if decisions:
            await egress_log.record(self._egress, decisions)
        if used:
            await egress_log.record_usage(self._egress, used)
        if ids:
            await secrets.mark_used(self._egress, list(ids))

    async def keep_minted(self, tenant_id: TenantId, minted_by: int, minted: Sequence[MintedSecret]) -> Sequence[int]:
        """See `EgressBook.keep_minted`."""
        return await secrets.keep_minted(self._egress, tenant_id, minted_by, minted)

    async def prune(self) -> None:
        """See `EgressBook.prune`."""
        await egress_log.prune(self._egress)

    async def changes(self, on_change: Callable[[TenantId | None], None]) -> None:
        """See `EgressBook.changes`."""
        await tenant_egress.listen_changes(self._address, on_change)
