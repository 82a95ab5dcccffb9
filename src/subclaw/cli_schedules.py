"""The command line of reminders: `subclaw schedules`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

schedules = typer.Typer(help="What agents set for later: reminders, once or again and again.", no_args_is_help=True)


@schedules.callback()
def group() -> None:
    """Let `list` be a command of its own, though it is the only one."""


@schedules.command("list")
def schedules_list(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's, by its name.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed or were missed.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List schedules: times, modes and states, never words. Those that are over are kept for 30 days."""
    from subclaw.commands.schedules import list_schedules

    run(list_schedules(settings(), console, limit=limit, tenant=tenant, only_failed=failed, as_json=as_json))
