"""Plans in a real PostgreSQL, by the store and by the command line."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from rich.console import Console

from subclaw.commands.lists import list_tenants
from subclaw.commands.plans import PlanChange, list_plans, put_on_plan, set_plan
from subclaw.config import Settings, load_settings
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.plan import DAY_S, DISK_LIMITS_MB, STANDARD, Plan
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.plans import all_plans, assign_plan, find_plan, save_plan

SEEDED = Plan(name=STANDARD, idle_timeout_s=300, awake_s_per_day=4 * 3600, disk_mb=8192, sleeps_with_memory=True)


def run(scenario: Callable[[Database], Awaitable[None]], address: DatabaseAddress) -> None:
    async def main() -> None:
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            await scenario(operator)

    asyncio.run(main())


def make_tenant(address: DatabaseAddress, name: str) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        connection.execute("INSERT INTO tenant (name) VALUES (%s)", [name])


def plan_of(address: DatabaseAddress, name: str) -> str:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        ((plan,),) = connection.execute("SELECT plan FROM tenant WHERE name = %s", [name]).fetchall()
    return str(plan)


def settings_for(address: DatabaseAddress) -> Settings:
    return load_settings({"DATABASE_URL": address.url})


def shown(command: Callable[[Console], Awaitable[None]]) -> str:
    output = io.StringIO()
    console = Console(file=output, width=200)

    async def main() -> None:
        await command(console)

    asyncio.run(main())
    return output.getvalue()


def test_a_new_database_has_the_standard_plan_and_new_tenants_are_on_it(address: DatabaseAddress) -> None:
    async def scenario(operator: Database) -> None:
        assert await all_plans(operator) == (SEEDED,)

    run(scenario, address)
    make_tenant(address, "calm-otter")
    assert plan_of(address, "calm-otter") == STANDARD


def test_a_plan_is_saved_and_saved_again(address: DatabaseAddress) -> None:
    generous = Plan(name="generous", idle_timeout_s=60, awake_s_per_day=0, disk_mb=100, sleeps_with_memory=False)
    smaller = replace(generous, idle_timeout_s=5, awake_s_per_day=7, disk_mb=64, sleeps_with_memory=True)

    async def scenario(operator: Database) -> None:
        for plan in (generous, smaller):
            await save_plan(operator, plan)
            assert await find_plan(operator, "generous") == plan
        assert await all_plans(operator) == (smaller, SEEDED)

    run(scenario, address)


def test_what_the_words_allow_the_table_allows(address: DatabaseAddress) -> None:
    least_mb, most_mb = DISK_LIMITS_MB
    ends = (
        {"name": f"a{61 * '-'}z", "idle_timeout_s": 1, "awake_s_per_day": 0, "disk_mb": least_mb},
        {"name": "a1", "idle_timeout_s": DAY_S, "awake_s_per_day": DAY_S, "disk_mb": most_mb},
    )
    plans: list[Plan] = [replace(SEEDED, **fields) for fields in ends]  # type: ignore[arg-type]

    async def scenario(operator: Database) -> None:
        for plan in plans:
            await save_plan(operator, plan)
            assert await find_plan(operator, plan.name) == plan
        with pytest.raises(Invalid, match="idle time-out"):
            await save_plan(operator, replace(SEEDED, idle_timeout_s=0))
        assert await find_plan(operator, STANDARD) == SEEDED

    run(scenario, address)


def test_a_tenant_is_put_on_a_plan_that_there_is(address: DatabaseAddress) -> None:
    make_tenant(address, "calm-otter")
    make_tenant(address, "keen-owl")

    async def scenario(operator: Database) -> None:
        await save_plan(operator, replace(SEEDED, name="generous"))
        await assign_plan(operator, "calm-otter", "generous")
        with pytest.raises(NotFound, match="plan none"):
            await assign_plan(operator, "keen-owl", "none")
        with pytest.raises(NotFound, match="tenant nobody"):
            await assign_plan(operator, "nobody", "generous")

    run(scenario, address)
    assert plan_of(address, "calm-otter") == "generous"
    assert plan_of(address, "keen-owl") == STANDARD


def test_the_commands_change_only_what_they_are_given(address: DatabaseAddress) -> None:
    settings = settings_for(address)
    shown(lambda console: set_plan(settings, console, STANDARD, PlanChange(idle_timeout_s=60)))
    shown(lambda console: set_plan(settings, console, "generous", PlanChange(awake_hours=1.5, disk_mb=100)))
    shown(lambda console: set_plan(settings, console, "generous", PlanChange(sleeps_with_memory=False)))
    listed: list[dict[str, Any]] = json.loads(shown(lambda console: list_plans(settings, console, as_json=True)))
    rest = {"idle_timeout_s": 60}
    assert listed == [
        {"name": "generous", **rest, "awake_s_per_day": 5400, "disk_mb": 100, "sleeps_with_memory": False},
        {"name": STANDARD, **rest, "awake_s_per_day": 14_400, "disk_mb": 8192, "sleeps_with_memory": True},
    ]
    table = shown(lambda console: list_plans(settings, console, as_json=False))
    assert [line.split()[0] for line in table.splitlines()] == ["name", "generous", STANDARD]


@pytest.mark.parametrize("hours", [-0.5, 24.5, float("nan"), float("inf")])
def test_a_day_has_twenty_four_hours(address: DatabaseAddress, hours: float) -> None:
    settings = settings_for(address)
    with pytest.raises(Invalid, match="24 hours"):
        shown(lambda console: set_plan(settings, console, "generous", PlanChange(awake_hours=hours)))


def test_tenants_are_listed_with_their_plans(address: DatabaseAddress) -> None:
    settings = settings_for(address)
    make_tenant(address, "calm-otter")
    shown(lambda console: set_plan(settings, console, "generous", PlanChange()))
    said = shown(lambda console: put_on_plan(settings, console, "calm-otter", "generous"))
    assert "calm-otter is on the plan generous" in said
    (listed,) = json.loads(shown(lambda console: list_tenants(settings, console, limit=10, as_json=True)))
    assert (listed["name"], listed["plan"]) == ("calm-otter", "generous")
