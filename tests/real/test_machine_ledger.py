"""The record of machines against a real PostgreSQL: one host a disk, one newest start, seconds counted by the day."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from subclaw.core.errors import Conflict, NotFound, Unavailable
from subclaw.core.machine import KeptMachine, MachineState, SecondsLeft, Terms
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.machines import StoreMachineLedger

HERE, THERE = "host-00000001", "host-00000002"
BUDGET_S = 4 * 3600
DAY_S = 86_400

Scenario = Callable[[StoreMachineLedger, StoreMachineLedger], Awaitable[None]]


def run(scenario: Scenario, address: DatabaseAddress) -> None:
    """Run a scenario with the ledgers of two hosts."""

    async def main() -> None:
        async with open_database(address, Role.HOST) as database:
            await scenario(StoreMachineLedger(database, HERE), StoreMachineLedger(database, THERE))

    asyncio.run(main())


def owner_rows(address: DatabaseAddress, query: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def tenant(address: DatabaseAddress) -> TenantId:
    return make_tenant(address, "calm-otter")


def make_tenant(address: DatabaseAddress, name: str) -> TenantId:
    ((tenant_id,),) = owner_rows(address, "INSERT INTO tenant (name) VALUES (%s) RETURNING id", name)
    assert isinstance(tenant_id, int)
    return TenantId(tenant_id)


def spend(address: DatabaseAddress, tenant: TenantId, awake_s: float, *, days_ago: int = 0) -> None:
    owner_rows(
        address,
        "INSERT INTO machine_use VALUES (%s, (now() AT TIME ZONE 'UTC')::date - %s, %s)",
        tenant,
        days_ago,
        awake_s,
    )


def spent(address: DatabaseAddress, tenant: TenantId) -> float:
    ((total,),) = owner_rows(
        address, "SELECT coalesce(sum(awake_s), 0)::double precision FROM machine_use WHERE tenant_id = %s", tenant
    )
    assert isinstance(total, float)
    return total


def test_a_start_has_the_terms_of_the_tenants_plan(address: DatabaseAddress, tenant: TenantId) -> None:
    owner_rows(address, "INSERT INTO plan VALUES ('small', 9, 60, 100, false)")

    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        generation, terms = await here.begin(tenant, at_least=0, image="i")
        assert generation == 1
        assert terms == Terms(
            idle_timeout_s=300, disk_mb=8192, sleeps_with_memory=True, left=SecondsLeft(by_claim_s=BUDGET_S)
        )
        owner_rows(address, "UPDATE tenant SET plan = 'small'")
        assert (await here.use(tenant, generation, awake_s=0)).by_claim_s == 60, "the budget follows the plan at once"
        _, terms = await here.begin(tenant, at_least=0, image="i")
        assert terms == Terms(idle_timeout_s=9, disk_mb=100, sleeps_with_memory=False, left=SecondsLeft(by_claim_s=60))

    run(scenario, address)


def test_each_start_is_above_all_before_and_above_what_the_disk_says(
    address: DatabaseAddress, tenant: TenantId
) -> None:
    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        started = [(await here.begin(tenant, at_least=least, image="i"))[0] for least in (41, 0, 42, 50)]
        assert started == [42, 43, 44, 51]

    run(scenario, address)


def test_starts_at_once_have_generations_of_their_own(address: DatabaseAddress, tenant: TenantId) -> None:
    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        begun = await asyncio.gather(*(here.begin(tenant, at_least=0, image="i") for _ in range(20)))
        assert sorted(generation for generation, _ in begun) == list(range(1, 21))

    run(scenario, address)


def test_of_two_hosts_one_keeps_the_machine(address: DatabaseAddress, tenant: TenantId) -> None:
    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        begun = await asyncio.gather(
            *(ledger.begin(tenant, at_least=0, image="i") for ledger in (here, there)), return_exceptions=True
        )
        winner, loser = (here, there) if isinstance(begun[0], tuple) else (there, here)
        assert [type(outcome) for outcome in begun].count(Conflict) == 1
        for attempt in (
            loser.begin(tenant, at_least=7, image="i"),
            loser.use(tenant, 1, awake_s=1),
            loser.end(tenant, 1, MachineState.ASLEEP, awake_s=1),
            loser.destroy(tenant),
        ):
            with pytest.raises(Conflict):
                await attempt
        assert await loser.kept() == ()
        assert await loser.settle([]) == 0
        assert await winner.kept() == (KeptMachine(tenant_id=tenant, generation=1, state=MachineState.AWAKE),)
        assert spent(address, tenant) == 0

    run(scenario, address)


def test_an_older_start_can_say_nothing_more(address: DatabaseAddress, tenant: TenantId) -> None:
    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        old, _ = await here.begin(tenant, at_least=0, image="i")
        new, _ = await here.begin(tenant, at_least=0, image="i")
        with pytest.raises(Conflict):
            await here.use(tenant, old, awake_s=5)
        with pytest.raises(Conflict):
            await here.end(tenant, old, MachineState.ASLEEP, awake_s=5)
        assert await here.kept() == (KeptMachine(tenant_id=tenant, generation=new, state=MachineState.AWAKE),)
        assert spent(address, tenant) == 0
        await here.use(tenant, new, awake_s=5)
        assert spent(address, tenant) == pytest.approx(5)

    run(scenario, address)


def test_an_end_said_again_counts_once_and_may_be_another(address: DatabaseAddress, tenant: TenantId) -> None:
    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        generation, _ = await here.begin(tenant, at_least=0, image="i")
        for state in (MachineState.ASLEEP_WITH_MEMORY, MachineState.ASLEEP_WITH_MEMORY, MachineState.ASLEEP):
            await here.end(tenant, generation, state, awake_s=5)
            assert await here.kept() == (KeptMachine(tenant_id=tenant, generation=generation, state=state),)
        assert spent(address, tenant) == pytest.approx(5)
        with pytest.raises(Conflict):
            await here.use(tenant, generation, awake_s=1)

    run(scenario, address)


def test_a_budget_is_used_up_and_yesterdays_does_not_count(address: DatabaseAddress, tenant: TenantId) -> None:
    spend(address, tenant, 50_000, days_ago=1)

    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        generation, terms = await here.begin(tenant, at_least=0, image="i")
        assert terms.left.by_claim_s == BUDGET_S
        spend(address, tenant, BUDGET_S - 10)
        assert (await here.use(tenant, generation, awake_s=0)).by_claim_s == 10
        owner_rows(address, "UPDATE machine_use SET awake_s = awake_s + 1000")
        assert (await here.use(tenant, generation, awake_s=0)).by_claim_s == 0
        await here.destroy(tenant)
        _, terms = await here.begin(tenant, at_least=0, image="i")
        assert terms.left.by_claim_s == 0, "a new machine has no new budget"

    run(scenario, address)


@pytest.mark.parametrize(
    ("awake_s", "days"),
    [
        (30, [("2030-01-01", 30)]),
        (60, [("2030-01-01", 60)]),
        (90, [("2029-12-31", 30), ("2030-01-01", 60)]),
        (90.5, [("2029-12-31", 30.5), ("2030-01-01", 60)]),
        (10 * DAY_S, [("2029-12-31", DAY_S - 60), ("2030-01-01", 60)]),
        (float("inf"), [("2029-12-31", DAY_S - 60), ("2030-01-01", 60)]),
        (0, []),
        (-5, []),
    ],
)
def test_seconds_count_for_the_day_in_utc_that_they_lie_in(
    address: DatabaseAddress, tenant: TenantId, awake_s: float, days: list[tuple[str, float]]
) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        connection.execute("SET TIME ZONE 'Pacific/Auckland'")
        connection.execute("SELECT count_awake(%s, %s, '2030-01-01T00:01:00Z')", [tenant, awake_s])
    assert owner_rows(address, "SELECT day::text, awake_s FROM machine_use ORDER BY day") == days


def test_seconds_add_up_on_both_sides_of_midnight(address: DatabaseAddress, tenant: TenantId) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        for now in ("2029-12-31T23:59:00Z", "2030-01-01T00:00:30Z", "2030-01-01T00:01:00Z"):
            connection.execute("SELECT count_awake(%s, 60, %s)", [tenant, now])
    days = owner_rows(address, "SELECT day::text, awake_s FROM machine_use ORDER BY day")
    assert days == [("2029-12-31", 90), ("2030-01-01", 90)]


def test_a_destroyed_machine_is_forgotten_and_another_host_may_keep_the_next(
    address: DatabaseAddress, tenant: TenantId
) -> None:
    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        await here.begin(tenant, at_least=0, image="i")
        for _ in range(2):
            await here.destroy(tenant)
        assert await here.kept() == ()
        with pytest.raises(Conflict):
            await here.use(tenant, 1, awake_s=1)
        assert (await there.begin(tenant, at_least=0, image="i"))[0] == 1

    run(scenario, address)


def test_a_host_that_starts_settles_its_rows(address: DatabaseAddress, tenant: TenantId) -> None:
    lost, asleep, elsewhere = (make_tenant(address, name) for name in ("keen-owl", "wise-fox", "shy-finch"))

    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        for of_here in (tenant, lost, asleep):
            await here.begin(of_here, at_least=0, image="i")
        await here.end(asleep, 1, MachineState.ASLEEP_WITH_MEMORY, awake_s=0)
        await there.begin(elsewhere, at_least=0, image="i")
        assert await here.settle([tenant]) == 1
        assert {kept.tenant_id: kept.state for kept in await here.kept()} == {
            tenant: MachineState.AWAKE,
            lost: MachineState.ASLEEP,
            asleep: MachineState.ASLEEP_WITH_MEMORY,
        }
        assert await here.settle([]) == 1
        assert [kept.state for kept in await there.kept()] == [MachineState.AWAKE]

    run(scenario, address)


def test_a_deleted_tenant_has_no_machine(address: DatabaseAddress, tenant: TenantId) -> None:
    other = make_tenant(address, "keen-owl")

    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        await here.begin(tenant, at_least=0, image="i")
        assert await here.existing([tenant, other, TenantId(2**62)]) == {tenant, other}
        assert await here.existing([]) == frozenset()
        owner_rows(address, "DELETE FROM tenant WHERE id = %s", tenant)
        assert await here.existing([tenant, other]) == {other}
        assert await here.kept() == ()
        with pytest.raises(NotFound):
            await here.begin(tenant, at_least=0, image="i")
        with pytest.raises(Conflict):
            await here.use(tenant, 1, awake_s=1)

    run(scenario, address)


def test_tenants_deleted_while_their_machines_are_counted_block_nobody(address: DatabaseAddress) -> None:
    tenants = [make_tenant(address, f"owl-{number}") for number in range(8)]

    async def count(here: StoreMachineLedger, tenant: TenantId) -> None:
        with contextlib.suppress(Conflict):
            while True:
                await here.use(tenant, 1, awake_s=1)

    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        for tenant in tenants:
            await here.begin(tenant, at_least=0, image="i")
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for tenant in tenants:
                group.create_task(count(here, tenant))
            await asyncio.to_thread(owner_rows, address, "DELETE FROM tenant")

    run(scenario, address)


def test_a_database_that_is_away_is_said(address: DatabaseAddress, tenant: TenantId) -> None:
    name = psycopg.conninfo.conninfo_to_dict(address.url)["dbname"]

    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        await here.begin(tenant, at_least=0, image="i")
        with psycopg.connect(make_conninfo(address.url, dbname="postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = %s",
                [name, Role.HOST.value],
            )
        with pytest.raises(Unavailable):
            await here.begin(tenant, at_least=0, image="i")

    run(scenario, address)


def test_a_tenant_sees_its_own_machine_and_the_operator_sees_all(address: DatabaseAddress, tenant: TenantId) -> None:
    other = make_tenant(address, "keen-owl")

    async def scenario(here: StoreMachineLedger, there: StoreMachineLedger) -> None:
        for each in (tenant, other):
            await here.begin(each, at_least=0, image="i")
            await here.use(each, 1, awake_s=1)

    run(scenario, address)
    with (
        psycopg.connect(address.conninfo(Role.APP)) as app,
        psycopg.connect(address.conninfo(Role.OPERATOR)) as operator,
    ):
        app.execute("SELECT be_tenant(%s)", [tenant])
        for table in (b"machine", b"machine_use"):
            query = b"SELECT DISTINCT tenant_id FROM " + table + b" ORDER BY 1"
            assert app.execute(query).fetchall() == [(tenant,)]
            assert operator.execute(query).fetchall() == [(tenant,), (other,)]
