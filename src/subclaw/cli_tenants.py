"""The command line of tenants: `subclaw tenants`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

tenants = typer.Typer(help="List tenants, or change what one has of its own.", invoke_without_command=True)


@tenants.callback()
def tenants_list(
    context: typer.Context,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50,
) -> None:
    """List tenants: names, channels and figures, never their words."""
    from subclaw.commands.lists import list_tenants

    if context.invoked_subcommand is None:
        run(list_tenants(settings(), console, limit=limit, as_json=as_json))


@tenants.command("model")
def tenants_model(
    tenant: Annotated[str, typer.Argument(help="The tenant's name, as `subclaw tenants` lists it.")],
    model: Annotated[str | None, typer.Argument(help="provider:model; without it, the one it has is shown.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Go back to the model that everybody has.")] = False,
) -> None:
    """Move a tenant to another model; its conversations, memory and tools stay."""
    from subclaw.commands.tenants import tenant_model

    run(tenant_model(settings(), console, tenant, model=model, is_default=default))
