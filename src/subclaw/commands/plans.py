"""`subclaw plans`: what machines may use, and which tenant is on which plan."""

import dataclasses
from typing import Any

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.plan import STANDARD, Plan
from subclaw.store.plans import all_plans, assign_plan, find_plan, save_plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanChange:
    """What a plan shall be from now on; None leaves a field as it is, or as the standard plan has it."""

    idle_timeout_s: int | None = None
    awake_hours: float | None = None
    disk_mb: int | None = None
    sleeps_with_memory: bool | None = None


async def list_plans(settings: Settings, console: Console, *, as_json: bool) -> None:
    """List the plans."""
    async with operator_database(settings) as operator:
        rows = [dataclasses.asdict(plan) for plan in await all_plans(operator)]
    show(rows, console, as_json=as_json, none="There are no plans.")


async def set_plan(settings: Settings, console: Console, name: str, change: PlanChange) -> None:
    """Change a plan, or make it. Errors: `Invalid`."""
    async with operator_database(settings) as operator:
        try:
            plan = await find_plan(operator, name)
        except NotFound:
            plan = dataclasses.replace(await find_plan(operator, STANDARD), name=name)
        await save_plan(operator, _changed(plan, change))
    console.print(f"The plan {name} is set.", soft_wrap=True)


async def put_on_plan(settings: Settings, console: Console, tenant: str, plan: str) -> None:
    """Put a tenant, by its name, on a plan. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        await assign_plan(operator, tenant, plan)
    console.print(f"{tenant} is on the plan {plan} from its machine's next start.", soft_wrap=True)


def _changed(plan: Plan, change: PlanChange) -> Plan:
    given: dict[str, Any] = {name: value for name, value in dataclasses.asdict(change).items() if value is not None}
    hours = given.pop("awake_hours", None)
    if hours is not None:
        if not 0 <= hours <= 24:
            raise Invalid("A day has from 0 to 24 hours to stay awake in.")
        given["awake_s_per_day"] = round(hours * 3600)
    return dataclasses.replace(plan, **given)
