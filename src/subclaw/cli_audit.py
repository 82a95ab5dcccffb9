"""The command line of audits: `subclaw audit`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

audit = typer.Typer(help="Proof of what is promised, on the installation that runs.", no_args_is_help=True)


@audit.callback()
def audits() -> None:
    """Have a name for each audit, though there is one."""


@audit.command("isolation")
def audit_isolation(
    customers: Annotated[int, typer.Option(min=2, max=1_000, help="How many customers to plant.")] = 20,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the customers; the next audit erases them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plant canaries in customers of its own, try every door for them as others, and look where they must not be.

    Exits 1 if one is found. It reads every row of the database, and prints places alone.
    """
    from subclaw.commands.audit import audit_isolation as audit_it

    clean: list[bool] = []

    async def audited() -> None:
        clean.append(await audit_it(settings(), console, customers=customers, keep=keep, as_json=as_json))

    run(audited())
    raise typer.Exit(0 if clean == [True] else 1)
