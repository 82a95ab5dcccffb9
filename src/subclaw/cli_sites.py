"""The command line of sites: `subclaw sites`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

sites = typer.Typer(help="What tenants have published.", no_args_is_help=True)

Tenant = Annotated[str, typer.Argument(help="The tenant's name, as `subclaw tenants` lists it.")]


@sites.command("list")
def sites_list(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50,
    down: Annotated[bool, typer.Option("--down", help="Only those that were taken down.")] = False,
    as_json: AsJson = False,
) -> None:
    """List sites, the one that was changed last first."""
    from subclaw.commands.sites import list_sites

    run(list_sites(settings(), console, limit=limit, only_down=down, as_json=as_json))


@sites.command("takedown")
def sites_takedown(tenant: Tenant) -> None:
    """Take a site down at once; its agent goes on, and cannot publish until it is restored."""
    from subclaw.commands.sites import take_site_down

    run(take_site_down(settings(), console, tenant))


@sites.command("reports")
def sites_reports(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what visitors reported by /_/report of a site, and nobody has settled."""
    from subclaw.commands.sites import list_reports

    run(list_reports(settings(), console, limit=limit, as_json=as_json))


@sites.command("settle")
def sites_settle(number: Annotated[int, typer.Argument(help="The report's number.")]) -> None:
    """Put a report aside."""
    from subclaw.commands.sites import settle

    run(settle(settings(), console, number))


@sites.command("restore")
def sites_restore(tenant: Tenant) -> None:
    """Let a site be seen again that was taken down."""
    from subclaw.commands.sites import restore_site

    run(restore_site(settings(), console, tenant))
