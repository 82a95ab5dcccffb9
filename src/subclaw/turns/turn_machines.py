"""A machine for one turn alone: made fresh for the first call that needs it, and erased when the turn is over.

Whose a tenant's machine is says a row in the database, so that it is erased whichever worker dies.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from subclaw.core.errors import Conflict, SubclawError, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database
from subclaw.store.house import read_house
from subclaw.store.turn_machines import (
    ERASING_LIMIT_S,
    Taken,
    claim_turn_machines,
    forget_turn_machine,
    have_turn_machine,
    take_turn_machine,
)
from subclaw.tools.toolbox import Tool

CLEARING_INTERVAL_S = 1.0
CLEARED_AT_ONCE = 8
_POLL_S = 0.2

log = logging.getLogger(__name__)


class Erases(Protocol):
    """The machines, as far as their end is concerned."""

    async def destroy(self, tenant_id: TenantId) -> None:
        """See `core.machine.Machines.destroy`."""
        ...

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """See `core.machine.Machines.write_house`."""
        ...


def for_one_turn(tool: Tool, database: Database, machines: Erases) -> Tool:
    """Return a machine's tool that has a machine of the turn's own."""

    async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
        await _have(database, machines, caller)
        return await tool.perform(caller, arguments)

    return replace(tool, perform=perform)


async def _have(database: Database, machines: Erases, caller: Caller) -> None:
    """See to it that the tenant's machine is the turn's. Errors: `Conflict`, `Unavailable`."""
    for _ in range(round(ERASING_LIMIT_S / _POLL_S)):
        taken = await take_turn_machine(database, caller)
        if taken is not Taken.WAIT:
            break
        await asyncio.sleep(_POLL_S)
    else:
        raise Unavailable("There is no machine just now. Try again in a minute.")
    if taken is Taken.BUSY:
        raise Conflict("Another conversation of this customer's has the machine. Try again when that is over.")
    if taken is Taken.ERASE:
        await _erase(database, machines, caller.tenant_id)
        await have_turn_machine(database, caller)


async def _erase(database: Database, machines: Erases, tenant_id: TenantId) -> None:
    """Erase a machine, and what the mirror has kept of its house, which the next one would begin with."""
    await machines.destroy(tenant_id)
    for file in await read_house(database, tenant_id):
        if file.content is not None:
            await machines.write_house(tenant_id, file.path, None)


async def keep_clearing(database: Database, machines: Erases) -> None:
    """Erase machines whose turns are over, until cancelled."""
    while True:
        try:
            found = await claim_turn_machines(database, limit=CLEARED_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                for tenant_id in found:
                    group.create_task(_clear(database, machines, tenant_id))
        except* Unavailable as errors:
            log.warning("machines of turns that are over cannot be erased now: %s", errors.exceptions[0])
        await asyncio.sleep(CLEARING_INTERVAL_S)


async def _clear(database: Database, machines: Erases, tenant_id: TenantId) -> None:
    try:
        await _erase(database, machines, tenant_id)
    except SubclawError as error:  # it is claimed again after ERASING_LIMIT_S
        log.warning("the machine of tenant %d is not erased yet: %s", tenant_id, error.internal)
        return
    await forget_turn_machine(database, tenant_id)
