"""Completions in the database: what each reserves before it is asked, and is charged after."""

from dataclasses import dataclass
from datetime import datetime

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import Estimate, Room
from subclaw.core.completion import Asker
from subclaw.core.model import Usage
from subclaw.core.turn import Lease
from subclaw.store.budgets import room_of
from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """What came of reserving: an `id` if there is room in all budgets and in the turn, if it is one's."""

    id: int | None
    room: Room
    is_over_turn: bool


async def reserve_completion(
    database: Database,
    asker: Asker,
    call: Estimate,
    agent: AgentSettings,
    *,
    lives_s: float,
    now: datetime | None = None,
) -> Reservation:
    """Reserve what a completion may use, at all levels and within the turn's own limits, or nothing.

    It is given back when it is settled, or after `lives_s`. `now` is the clock's time, unless it is said.
    Errors: `LeaseLost` for a conversation that is gone, `Unavailable`.
    """
    ((id, over_turn, *room),) = await database.rows(
        "SELECT * FROM reserve_completion(%s, %s, %s, %s, %s, %s, %s, %s, %s::timestamptz)",
        asker.tenant_id,
        asker.conversation_id,
        call.microusd,
        call.cheaper_microusd,
        call.tokens,
        agent.turn_limit_tokens,
        agent.turn_limit_microusd,
        lives_s,
        now,
    )
    if over_turn:
        return Reservation(id=None, room=Room(), is_over_turn=True)
    over_hard, over_soft, *reached = room
    return Reservation(id=id, room=room_of(over_hard, over_soft, False, reached), is_over_turn=False)


async def settle_completion(database: Database, asker: Asker, id: int, usage: Usage | None) -> None:
    """Give back what was reserved and charge what was used, if anything; said again it does nothing.

    Errors: `Unavailable`.
    """
    await database.rows(
        "SELECT settle_completion(%s, %s, %s, %s, %s, %s)",
        asker.tenant_id,
        id,
        usage.model if usage else None,
        usage.input_tokens if usage else 0,
        usage.output_tokens if usage else 0,
        usage.cost_microusd if usage else 0,
    )


async def lapse_completions(database: Database) -> int:
    """Give back what dead workers had reserved; return for how many completions. Errors: `Unavailable`."""
    count = 0
    while (await database.rows("SELECT lapse_completion()"))[0][0]:
        count += 1
    return count


async def completions_of_turn(database: Database, lease: Lease) -> Usage:
    """Return what the completions of the running turn used together, as input. Errors: `Unavailable`."""
    ((tokens, microusd),) = await database.rows(
        "SELECT * FROM completions_of_turn(%s, %s)", lease.tenant_id, lease.conversation_id
    )
    return Usage(model="", input_tokens=tokens, output_tokens=0, cost_microusd=microusd)
