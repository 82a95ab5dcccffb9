"""The command line of tenants' own hostnames: `subclaw domains`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

domains = typer.Typer(help="Hostnames of tenants' own, which lead to their sites.", no_args_is_help=True)


@domains.command("list")
def domains_list(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the first N.")] = 100, as_json: AsJson = False
) -> None:
    """List hostnames: whose each is, and whether its records are there."""
    from subclaw.commands.domains import list_domains

    run(list_domains(settings(), console, limit=limit, as_json=as_json))


@domains.command("remove")
def domains_remove(hostname: Annotated[str, typer.Argument(help="The hostname.")]) -> None:
    """Take a hostname from its tenant; its site stays at its other addresses."""
    from subclaw.commands.domains import remove_domain

    run(remove_domain(settings(), console, hostname))
