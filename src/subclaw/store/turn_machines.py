"""Machines that are for one turn alone: whose they are, and which are to be erased. The role is the application's."""

from enum import StrEnum

from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database

ERASING_LIMIT_S = 60
"""How long whoever erases a machine may take; then it is for somebody else to do."""


class Taken(StrEnum):
    """What a turn has of its tenant's machine: it, once erased, while another turn has it, or nothing just now."""

    FRESH = "fresh"
    ERASE = "erase"
    BUSY = "busy"
    WAIT = "wait"


async def take_turn_machine(database: Database, caller: Caller) -> Taken:
    """Take the tenant's machine for the caller's turn. Errors: `Unavailable`."""
    query = "SELECT take_turn_machine(%s, %s, %s, make_interval(secs => %s))"
    values = caller.tenant_id, caller.conversation_id, caller.turn_id, ERASING_LIMIT_S
    ((taken,),) = await database.rows(query, *values)
    return Taken(taken)


async def have_turn_machine(database: Database, caller: Caller) -> None:
    """Note that what was there is erased. Errors: `Unavailable`."""
    await database.rows(
        "SELECT have_turn_machine(%s, %s, %s)", caller.tenant_id, caller.conversation_id, caller.turn_id
    )


async def claim_turn_machines(database: Database, *, limit: int) -> tuple[TenantId, ...]:
    """Take machines whose turns are over, to erase them. Errors: `Unavailable`."""
    rows = await database.rows(
        "SELECT * FROM claim_turn_machines(%s, make_interval(secs => %s))", limit, ERASING_LIMIT_S
    )
    return tuple(TenantId(tenant_id) for (tenant_id,) in rows)


async def forget_turn_machine(database: Database, tenant_id: TenantId) -> None:
    """Note that a machine whose turn is over is erased. Errors: `Unavailable`."""
    await database.rows("SELECT forget_turn_machine(%s)", tenant_id)
