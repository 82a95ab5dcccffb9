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
    """Take a hostname, and all below it, from whoever has it; nobody gets it again until it is allowed."""
    from subclaw.commands.domains import remove_domain

    run(remove_domain(settings(), console, hostname))


@domains.command("allow")
def domains_allow(hostname: Annotated[str, typer.Argument(help="The hostname.")]) -> None:
    """Let tenants have a hostname again that was removed. It leads nowhere until one takes it anew."""
    from subclaw.commands.domains import allow_domain

    run(allow_domain(settings(), console, hostname))
