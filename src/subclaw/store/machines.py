"""The rows of one host's machines, by which a disk has one owner and one newest start."""

import math
from collections.abc import Collection

from subclaw.core.budget import over_detail, over_words
from subclaw.core.errors import Conflict, Denied, Exhausted, NotFound
from subclaw.core.machine import KeptMachine, MachineState, SecondsLeft, Terms
from subclaw.core.site_health import SPEAKER, Trouble, errors_words, fallen_back_words, nothing_to_show_words
from subclaw.core.tenant import TenantId
from subclaw.store.budgets import machine_over_budget
from subclaw.store.database import Database
from subclaw.store.suspension import SUSPENDED

_BEGIN = """
    SELECT generation, idle_timeout_s, disk_mb, sleeps_with_memory, claim_left_s, left_s
    FROM begin_machine(%s, %s, %s, %s)
"""
_USE = """
    SELECT claim_left_s, CASE WHEN machine_is_suspended(%s) THEN 0 ELSE left_s END FROM use_machine(%s, %s, %s, %s)
"""
_KEPT_ELSEWHERE = "The tenant's machine is kept on another host."
_OVER = "The machine has been started again since, or sleeps, or is gone."


class StoreMachineLedger:
    """See `core.machine.MachineLedger`. The database is open in the host's role; `host` is this host's name."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def begin(self, tenant_id: TenantId, *, at_least: int, image: str) -> tuple[int, Terms]:
        """See `core.machine.MachineLedger.begin`."""
        ((is_suspended,),) = await self._database.rows("SELECT machine_is_suspended(%s)", tenant_id)
        if is_suspended:
            raise Denied(SUSPENDED)
        if reached := await machine_over_budget(self._database, tenant_id):
            raise Exhausted(over_words(reached), internal=over_detail(reached))
        rows = await self._database.rows(_BEGIN, self._host, tenant_id, at_least, image)
        if not rows:
            raise NotFound("There is no such tenant.")
        ((generation, idle_timeout_s, disk_mb, sleeps_with_memory, *left),) = rows
        if generation is None:
            raise Conflict(_KEPT_ELSEWHERE)
        return generation, Terms(
            idle_timeout_s=idle_timeout_s,
            disk_mb=disk_mb,
            sleeps_with_memory=sleeps_with_memory,
            left=_seconds_left(*left),
        )

    async def use(self, tenant_id: TenantId, generation: int, *, awake_s: float) -> SecondsLeft:
        """See `core.machine.MachineLedger.use`."""
        rows = await self._database.rows(_USE, tenant_id, self._host, tenant_id, generation, awake_s)
        if not rows:
            raise Conflict(_OVER)
        return _seconds_left(*rows[0])

    async def visits_left_s(self, tenant_id: TenantId) -> float:
        """See `core.machine.MachineLedger.visits_left_s`."""
        ((left_s,),) = await self._database.rows("SELECT visits_left(%s)", tenant_id)
        return float(left_s)

    async def end(self, tenant_id: TenantId, generation: int, state: MachineState, *, awake_s: float) -> None:
        """See `core.machine.MachineLedger.end`."""
        ((own,),) = await self._database.rows(
            "SELECT end_machine(%s, %s, %s, %s, %s)", self._host, tenant_id, generation, state.value, awake_s
        )
        if not own:
            raise Conflict(_OVER)

    async def destroy(self, tenant_id: TenantId) -> None:
        """See `core.machine.MachineLedger.destroy`."""
        ((gone,),) = await self._database.rows("SELECT destroy_machine(%s, %s)", self._host, tenant_id)
        if not gone:
            raise Conflict(_KEPT_ELSEWHERE)

    async def kept(self) -> tuple[KeptMachine, ...]:
        """See `core.machine.MachineLedger.kept`."""
        rows = await self._database.rows("SELECT tenant_id, generation, state FROM machines_of_host(%s)", self._host)
        return tuple(
            KeptMachine(tenant_id=TenantId(tenant_id), generation=generation, state=MachineState(state))
            for tenant_id, generation, state in rows
        )

    async def settle(self, awake: Collection[TenantId]) -> int:
        """See `core.machine.MachineLedger.settle`."""
        ((count,),) = await self._database.rows("SELECT settle_machines(%s, %s::bigint[])", self._host, list(awake))
        return int(count)

    async def existing(self, tenant_ids: Collection[TenantId]) -> frozenset[TenantId]:
        """See `core.machine.MachineLedger.existing`."""
        rows = await self._database.rows("SELECT tenants_that_exist(%s::bigint[])", list(tenant_ids))
        return frozenset(TenantId(tenant_id) for (tenant_id,) in rows)

    async def port_troubled(self, tenant_id: TenantId, port: int, trouble: Trouble) -> None:
        """See `core.machine.MachineLedger.port_troubled`. Errors: `Unavailable`."""
        if trouble is Trouble.ERRORS:
            await self._database.rows("SELECT port_errs(%s, %s, %s, %s)", tenant_id, port, SPEAKER, errors_words(port))
            return
        words = fallen_back_words(port, trouble), nothing_to_show_words(port, trouble)
        await self._database.rows("SELECT port_failed(%s, %s, %s, %s, %s)", tenant_id, port, SPEAKER, *words)


def _seconds_left(claim_left_s: float, left_s: int | None) -> SecondsLeft:
    return SecondsLeft(by_claim_s=claim_left_s, at_all_s=math.inf if left_s is None else left_s)
