"""Budgets in a real PostgreSQL: reserved before, charged once after, refilled at midnight, and nobody goes beyond."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.budgets import Counted, call, counted, owner_rows, replied, running

from subclaw.core.budget import Budget, Kind, Level, Period, Reached
from subclaw.core.errors import Exhausted, Invalid, NotFound
from subclaw.core.event import BudgetWarned, HistorySummarised, TurnFinished, TurnOutcome
from subclaw.core.machine import MachineState, SecondsLeft
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.budgets import all_budgets, charge_segments, remove_budget, reserve, set_budget
from subclaw.store.database import Database, DatabaseAddress, LeaseLost, Role, open_database
from subclaw.store.machines import StoreMachineLedger

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)
FINISHED = TurnFinished(outcome=TurnOutcome.ANSWERED)

OPERATOR_DAY = Budget(level=Level.OPERATOR, subject="*", kind=Kind.TOKENS, period=Period.DAY, hard=100)
EACH_TENANT = replace(OPERATOR_DAY, level=Level.TENANT)


def run(scenario: Callable[[Database], Awaitable[None]], address: DatabaseAddress) -> None:
    async def main() -> None:
        async with open_database(address, Role.APP) as database:
            await scenario(database)

    asyncio.run(main())


def limit(address: DatabaseAddress, *budgets: Budget) -> None:
    async def main() -> None:
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            for budget in budgets:
                await set_budget(operator, budget)

    asyncio.run(main())


def spend(address: DatabaseAddress, lease: Lease, seq: int, tokens: int, at: datetime) -> None:
    """Record what a model call used at a time."""
    query = "INSERT INTO usage (conversation_id, seq, tenant_id, at, model, input_tokens, output_tokens)"
    values = (lease.conversation_id, seq, lease.tenant_id, at, tokens)
    owner_rows(address, f"{query} VALUES (%s, %s, %s, %s, 'm', %s, 0)", *values)


def test_without_budgets_there_is_room_and_nothing_is_counted(address: DatabaseAddress) -> None:
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        assert not (await conversations.open_turn(database, lease)).has_budgets
        assert (await reserve(database, lease, call(10**9, 10**9))).hard is None
        await conversations.append(database, lease, [replied(10**6)])

    run(scenario, address)
    assert owner_rows(address, "SELECT count(*) FROM budget_counter") == [(0,)]


def test_what_is_reserved_is_taken_and_what_was_used_is_charged(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY, replace(OPERATOR_DAY, kind=Kind.MONEY, hard=1000))
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        assert (await conversations.open_turn(database, lease)).has_budgets
        assert (await reserve(database, lease, call(60, 700))).hard is None
        assert counted(address, "operator", "tokens") == Counted(used=0, reserved=60)
        assert counted(address, "operator", "microusd") == Counted(used=0, reserved=700)
        await conversations.append(database, lease, [replied(20, 300)])
        assert counted(address, "operator", "tokens") == Counted(used=20, reserved=0)
        assert counted(address, "operator", "microusd") == Counted(used=300, reserved=0)

    run(scenario, address)
    assert owner_rows(address, "SELECT cost_microusd FROM usage") == [(300,)]


def test_a_call_without_room_is_refused_and_says_which_budget_and_until_when(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        assert (await reserve(database, lease, call(100), now=NOON)).hard is None
        reached = (await reserve(database, lease, call(101), now=NOON)).hard
        assert reached == Reached(level=Level.OPERATOR, kind=Kind.TOKENS, period=Period.DAY, until=MIDNIGHT)
        assert counted(address, "operator", "tokens") == Counted(used=0, reserved=0), "the first was replaced"

    run(scenario, address)


@pytest.mark.parametrize("level", [Level.CONVERSATION, Level.TENANT, Level.AGENT, Level.OPERATOR])
def test_every_level_must_have_room(address: DatabaseAddress, level: Level) -> None:
    wide = [replace(OPERATOR_DAY, level=other, hard=1000) for other in Level if other is not level]
    limit(address, *wide, replace(OPERATOR_DAY, level=level, hard=10))
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        reached = (await reserve(database, lease, call(11))).hard
        assert reached is not None
        assert reached.level is level
        assert (await reserve(database, lease, call(10))).hard is None

    run(scenario, address)


def test_a_tenants_own_budget_goes_before_the_one_for_each(address: DatabaseAddress) -> None:
    first, second = running(address, tenants=2)
    limit(address, EACH_TENANT, replace(EACH_TENANT, subject=str(second.tenant_id), hard=500))

    async def scenario(database: Database) -> None:
        assert (await reserve(database, first, call(101))).hard is not None
        assert (await reserve(database, second, call(500))).hard is None
        assert (await reserve(database, second, call(501))).hard is not None

    run(scenario, address)


def test_a_soft_limit_takes_the_cheaper_price_and_warns_once_a_period(address: DatabaseAddress) -> None:
    limit(address, replace(EACH_TENANT, kind=Kind.MONEY, period=Period.MONTH, soft=50, hard=100))
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        room = await reserve(database, lease, call(0, 60, cheaper=5), now=NOON)
        assert room.soft is None
        spend_money = "UPDATE budget_counter SET used = 50"
        owner_rows(address, spend_money)
        for _ in range(2):  # not said to the person: warned again
            room = await reserve(database, lease, call(0, 60, cheaper=5), now=NOON)
            assert room.hard is None, "the usual model had no room, the cheaper has"
            assert room.warn
        assert room.soft == Reached(level=Level.TENANT, kind=Kind.MONEY, period=Period.MONTH, until=MIDNIGHT)
        warning = BudgetWarned(public="", until=MIDNIGHT.isoformat())
        await conversations.append(database, lease, [warning, replied(0, 5)])
        room = await reserve(database, lease, call(0, 60, cheaper=5), now=NOON)
        assert room.soft is not None
        assert not room.warn
        owner_rows(address, "UPDATE budget_counter SET used = 50, since = %s", MIDNIGHT)
        assert (await reserve(database, lease, call(0, 5), now=MIDNIGHT)).warn

    run(scenario, address)


def test_the_end_of_a_turn_gives_back_what_no_reply_has_charged(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY, EACH_TENANT)
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        await reserve(database, lease, call(100))
        await conversations.finish(database, lease, [FINISHED], reply="", send=False)

    run(scenario, address)
    assert counted(address, "operator", "tokens") == Counted(used=0, reserved=0)
    assert counted(address, "tenant", "tokens", str(lease.tenant_id)) == Counted(used=0, reserved=0)


def test_whoever_was_overtaken_reserves_and_charges_nothing(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        await reserve(database, lease, call(70))
        owner_rows(address, "UPDATE conversation SET epoch = 2")
        newer = replace(lease, epoch=2)
        assert (await reserve(database, newer, call(90))).hard is None, "it replaces what the dead one had reserved"
        with pytest.raises(LeaseLost):
            await reserve(database, lease, call(10))
        with pytest.raises(LeaseLost):
            await conversations.append(database, lease, [replied(70)])
        with pytest.raises(LeaseLost):
            await conversations.finish(database, lease, [FINISHED], reply="", send=False)
        assert counted(address, "operator", "tokens") == Counted(used=0, reserved=90)

    run(scenario, address)


def test_a_call_that_used_more_than_was_reserved_is_charged_in_full(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        await reserve(database, lease, call(90))
        await conversations.append(database, lease, [replied(130)])
        assert counted(address, "operator", "tokens") == Counted(used=130, reserved=0)
        assert (await reserve(database, lease, call(0))).hard is not None

    run(scenario, address)


def test_a_summary_is_charged_as_any_call(address: DatabaseAddress) -> None:
    limit(address, replace(OPERATOR_DAY, kind=Kind.MONEY, hard=1000))
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        await reserve(database, lease, call(0, 700))
        summary = HistorySummarised(text="all", kept_replies=0, usage=replied(20, 300).usage)
        await conversations.append(database, lease, [summary])

    run(scenario, address)
    assert counted(address, "operator", "microusd") == Counted(used=300, reserved=0)


def test_a_day_is_refilled_at_midnight_and_what_is_reserved_then_stays_reserved(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY, replace(OPERATOR_DAY, period=Period.MONTH, hard=170))
    first, second = running(address, tenants=2)
    before, after = MIDNIGHT - timedelta(days=1, seconds=1), MIDNIGHT - timedelta(days=1)

    async def scenario(database: Database) -> None:
        spend(address, first, 1, 80, before)
        assert (await reserve(database, first, call(21), now=before)).hard is not None
        assert (await reserve(database, first, call(20), now=before)).hard is None
        assert (await reserve(database, second, call(81), now=after)).hard is not None, "20 are still reserved"
        spend(address, first, 2, 20, after)
        assert (await reserve(database, second, call(71), now=after)).hard is not None, "70 are left of the month"
        assert (await reserve(database, second, call(70), now=after)).hard is None
        spend(address, first, 3, 10**6, before)
        spend(address, second, 4, 10, MIDNIGHT)
        assert (await reserve(database, first, call(90), now=MIDNIGHT)).hard is None

    run(scenario, address)


def test_an_erased_tenant_gives_back_what_it_had_reserved(address: DatabaseAddress) -> None:
    (lease, _) = running(address, tenants=2)
    limit(address, OPERATOR_DAY, replace(EACH_TENANT, subject=str(lease.tenant_id)))

    async def scenario(database: Database) -> None:
        await reserve(database, lease, call(70))

    run(scenario, address)
    owner_rows(address, "DELETE FROM tenant WHERE id = %s", lease.tenant_id)
    assert counted(address, "operator", "tokens") == Counted(used=0, reserved=0)
    assert owner_rows(address, "SELECT level::text FROM budget") == [("operator",)]


def queued_reply(address: DatabaseAddress, lease: Lease) -> int:
    ((id,),) = owner_rows(
        address,
        "INSERT INTO outbox (tenant_id, conversation_id, channel, address, text, state)"
        " VALUES (%s, %s, 'sms', 'a', 'hi', 'sending') RETURNING id",
        lease.tenant_id,
        lease.conversation_id,
    )
    return int(str(id))


def test_segments_are_charged_once_a_reply_and_come_back_if_it_did_not_go_out(address: DatabaseAddress) -> None:
    limit(address, replace(EACH_TENANT, kind=Kind.SEGMENTS, hard=5))
    (lease,) = running(address)
    subject = str(lease.tenant_id)
    first, second = queued_reply(address, lease), queued_reply(address, lease)

    async def scenario(database: Database) -> None:
        for _ in range(2):
            assert await charge_segments(database, lease.tenant_id, first, 3) is None
        assert counted(address, "tenant", "segments", subject).used == 3
        reached = await charge_segments(database, lease.tenant_id, second, 3)
        assert reached is not None
        assert (reached.level, reached.kind) == (Level.TENANT, Kind.SEGMENTS)
        owner_rows(address, "UPDATE outbox SET state = 'failed' WHERE id = %s", first)
        assert counted(address, "tenant", "segments", subject).used == 0
        assert await charge_segments(database, lease.tenant_id, second, 3) is None
        owner_rows(address, "UPDATE outbox SET state = 'sent' WHERE id = %s", second)
        assert counted(address, "tenant", "segments", subject).used == 3

    run(scenario, address)


def test_machine_seconds_are_charged_and_a_start_without_any_left_is_refused_in_words(address: DatabaseAddress) -> None:
    (lease,) = running(address)
    tenant = lease.tenant_id
    seconds = Budget(level=Level.TENANT, subject="*", kind=Kind.MACHINE_S, period=Period.DAY, hard=100)
    limit(address, seconds, replace(seconds, level=Level.OPERATOR, hard=10**6))

    async def main() -> None:
        async with open_database(address, Role.HOST, size=1) as database:
            ledger = StoreMachineLedger(database, "host-00000001")
            generation, terms = await ledger.begin(tenant, at_least=0, image="i")
            assert terms.left == SecondsLeft(by_claim_s=100, at_all_s=100)
            owner_rows(address, "INSERT INTO machine_use VALUES (%s, (now() AT TIME ZONE 'UTC')::date, 0.4)", tenant)
            for awake_s in (0.2, 0.3, 8.5):
                owner_rows(address, "UPDATE machine_use SET awake_s = awake_s + %s", awake_s)
            assert counted(address, "tenant", "machine_s", str(tenant)).used == 10
            assert counted(address, "operator", "machine_s").used == 10
            assert (await ledger.use(tenant, generation, awake_s=0)).at_all_s == 90
            owner_rows(address, "UPDATE machine_use SET awake_s = 100")
            await ledger.end(tenant, generation, MachineState.ASLEEP, awake_s=0)
            with pytest.raises(Exhausted, match="machine seconds") as refused:
                await ledger.begin(tenant, at_least=0, image="i")
            assert "Today's allowance for your computer is used up" in refused.value.public
            assert "midnight" in refused.value.public

    asyncio.run(main())


def test_budgets_are_listed_with_what_is_used_of_them(address: DatabaseAddress) -> None:
    first, second = running(address, tenants=2)
    own = replace(EACH_TENANT, subject=str(first.tenant_id), hard=300)
    limit(address, OPERATOR_DAY, EACH_TENANT, own, replace(EACH_TENANT, hard=200))

    async def scenario(database: Database) -> None:
        await reserve(database, first, call(30))
        await conversations.append(database, first, [replied(30)])
        await reserve(database, second, call(7))
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            found = [(use.budget, use.used, use.reserved) for use in await all_budgets(operator, limit=10)]
            listed = [(one.level.value, one.subject, one.hard, used, reserved) for one, used, reserved in found]
            assert listed == [
                ("operator", "*", 100, 30, 7),
                ("tenant", "*", 200, 0, 7),
                ("tenant", "tenant-1", 300, 30, 0),
            ]
            await remove_budget(operator, OPERATOR_DAY)
            with pytest.raises(NotFound):
                await remove_budget(operator, OPERATOR_DAY)
            with pytest.raises(NotFound, match="tenant 999"):
                await set_budget(operator, replace(EACH_TENANT, subject="999"))
            with pytest.raises(Invalid):
                await set_budget(operator, replace(EACH_TENANT, soft=101))
        await conversations.append(database, second, [replied(7)])

    run(scenario, address)


def test_whoever_acts_as_a_tenant_sees_no_budget(address: DatabaseAddress) -> None:
    for table in ("budget_counter", "reservation", "budget"):
        assert owner_rows(address, "SELECT has_table_privilege('subclaw_app', %s, 'SELECT')", table) == [(False,)]


def test_a_conversation_is_reserved_for_by_its_own_tenant_alone(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    first, second = running(address, tenants=2)

    async def scenario(database: Database) -> None:
        with pytest.raises(LeaseLost):
            await reserve(database, replace(first, tenant_id=second.tenant_id), call(1))

    run(scenario, address)
