"""Budgets under concurrency, against a real PostgreSQL: nobody goes beyond, all comes back, the books are right.

Many conversations reserve, are answered, crash, are overtaken and end at once, in any order.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.budgets import call, owner_rows, replied, running

from subclaw.core.budget import Budget, Kind, Level, Period
from subclaw.core.event import TurnFinished, TurnOutcome
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.budgets import reserve, set_budget
from subclaw.store.database import Database, DatabaseAddress, LeaseLost, Role, open_database

TENANTS, CONVERSATIONS = 3, 4

AT_A_LIMIT = """
    SELECT c.level, c.subject, c.kind, sum(c.used + c.reserved), b.hard
    FROM budget_counter c JOIN budget b ON (b.level, b.kind, b.period) = (c.level, c.kind, c.period)
    GROUP BY c.level, c.subject, c.kind, c.period, b.hard HAVING sum(c.used + c.reserved) > b.hard
"""

WRONG_BOOKS = """
    SELECT c.level, c.subject, c.kind, sum(c.used), sum(c.reserved), spent.amount
    FROM budget_counter c, LATERAL (
        SELECT coalesce(sum(
            CASE c.kind WHEN 'tokens' THEN u.input_tokens + u.output_tokens ELSE u.cost_microusd END), 0) AS amount
        FROM usage u
        WHERE c.level >= 'agent'
            OR c.subject = CASE c.level WHEN 'tenant' THEN u.tenant_id ELSE u.conversation_id END::text
    ) spent
    GROUP BY c.level, c.subject, c.kind, c.period, spent.amount
    HAVING sum(c.used) <> spent.amount OR sum(c.reserved) <> 0
"""

START_A_TURN = "UPDATE conversation SET owner = 1, epoch = epoch + 1, turn_open = true WHERE id = %s RETURNING epoch"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A model call: what is reserved, which part of that it used, and what became of whoever made it.

    `crash` before the answer is written, or `overtaken` by another worker.
    """

    tokens: int
    microusd: int
    used_percent: int
    end: str


calls = st.builds(
    Call,
    tokens=st.integers(0, 60),
    microusd=st.integers(0, 600),
    used_percent=st.integers(0, 100),
    end=st.sampled_from(["answered", "answered", "finished", "crash", "overtaken"]),
)
limits = st.tuples(*[st.integers(0, 1_500)] * len(Level))


def budgets(hard: Sequence[int]) -> list[Budget]:
    made = []
    for level, tokens in zip(Level, hard, strict=True):
        for kind, times in ((Kind.TOKENS, 1), (Kind.MONEY, 10)):
            made.append(Budget(level=level, subject="*", kind=kind, period=Period.TOTAL, hard=times * tokens))
    return made


class Books:
    """The database as the app and as its owner see it."""

    def __init__(self, app: Database, owner: Database) -> None:
        self.app = app
        self.owner = owner

    async def next_lease(self, lease: Lease) -> Lease:
        ((epoch,),) = await self.owner.rows(START_A_TURN, lease.conversation_id)
        return replace(lease, epoch=epoch)

    async def make(self, lease: Lease, made: Call) -> Lease:
        """Make a call under a lease; return the lease of the next."""
        room = await reserve(self.app, lease, call(made.tokens, made.microusd))
        assert await self.owner.rows(AT_A_LIMIT) == []
        if made.end == "crash":
            return await self.next_lease(lease)
        if made.end == "overtaken":
            newer = await self.next_lease(lease)
            with pytest.raises(LeaseLost):
                await reserve(self.app, lease, call(1, 1))
            with pytest.raises(LeaseLost):
                await conversations.append(self.app, lease, [replied(1, 1)])
            return newer
        if room.hard is None:
            used = replied(made.tokens * made.used_percent // 100, made.microusd * made.used_percent // 100)
            await conversations.append(self.app, lease, [used])
            assert await self.owner.rows(AT_A_LIMIT) == []
        if made.end == "finished":
            await self.finish(lease)
            return await self.next_lease(lease)
        return lease

    async def finish(self, lease: Lease) -> None:
        last = TurnFinished(outcome=TurnOutcome.ANSWERED)
        await conversations.finish(self.app, lease, [last], reply="", send=False)

    async def converse(self, lease: Lease, made: Sequence[Call]) -> None:
        for one in made:
            lease = await self.make(lease, one)
        await self.finish(lease)


async def at_once(
    address: DatabaseAddress, hard: Sequence[int], leases: Sequence[Lease], made: list[list[Call]]
) -> None:
    async with (
        open_database(address, Role.OPERATOR, size=1) as operator,
        open_database(address, Role.APP) as app,
        open_database(address, Role.OWNER) as owner,
    ):
        for budget in budgets(hard):
            await set_budget(operator, budget)
        books = Books(app, owner)
        async with asyncio.TaskGroup() as group:
            for lease, each in zip(leases, made, strict=True):
                group.create_task(books.converse(lease, each))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits,
    st.lists(
        st.lists(calls, min_size=1, max_size=6), min_size=TENANTS * CONVERSATIONS, max_size=TENANTS * CONVERSATIONS
    ),
)
def test_nobody_goes_beyond_and_the_books_are_right(
    address: DatabaseAddress, hard: tuple[int, ...], made: list[list[Call]]
) -> None:
    owner_rows(address, "TRUNCATE tenant, budget, budget_counter CASCADE")
    leases = running(address, tenants=TENANTS, conversations=CONVERSATIONS)
    asyncio.run(at_once(address, hard, leases, made))
    assert owner_rows(address, WRONG_BOOKS) == []
