"""`subclaw sites`: which there are, what is reported of them, taking one down, and letting it be seen again."""

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import NotFound
from subclaw.store.sites import list_published, put_back, take_down
from subclaw.store.visitors import open_reports, settle_report


async def list_sites(settings: Settings, console: Console, *, limit: int, only_down: bool, as_json: bool) -> None:
    """Print sites. Errors: `Unavailable`."""
    async with operator_database(settings) as operator:
        rows = await list_published(operator, limit=limit, only_down=only_down)
    show(
        rows, console, as_json=as_json, none="No site was taken down." if only_down else "Nobody has published a site."
    )


async def take_site_down(settings: Settings, console: Console, tenant: str) -> None:
    """Take a tenant's site down. Errors: `NotFound`, `Unavailable`."""
    async with operator_database(settings) as operator:
        await take_down(operator, tenant)
    console.print(f"{tenant}'s site is down: subclaw sites restore {tenant}", soft_wrap=True, markup=False)


async def restore_site(settings: Settings, console: Console, tenant: str) -> None:
    """Let a tenant's site be seen again. Errors: `NotFound`, `Unavailable`."""
    async with operator_database(settings) as operator:
        await put_back(operator, tenant)
    console.print(f"{tenant}'s site can be seen again.", soft_wrap=True, markup=False)


async def list_reports(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """Print reports of abuse that are open. Errors: `Unavailable`."""
    async with operator_database(settings) as operator:
        rows = await open_reports(operator, limit)
    show(rows, console, as_json=as_json, none="Nothing is reported.")


async def settle(settings: Settings, console: Console, number: int) -> None:
    """Put a report aside. Errors: `NotFound`, `Unavailable`."""
    async with operator_database(settings) as operator:
        if not await settle_report(operator, number):
            raise NotFound(f"There is no open report {number}.")
    console.print(f"Report {number} is settled.", soft_wrap=True, markup=False)
