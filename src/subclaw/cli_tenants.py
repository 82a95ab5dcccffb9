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


@tenants.command("messages")
def tenants_messages(
    tenant: Annotated[str, typer.Argument(help="The tenant's name, as `subclaw tenants` lists it.")],
    number: Annotated[int | None, typer.Argument(min=0, help="How many in all; without it, what holds.")] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="As many as they like.")] = False,
    default: Annotated[bool, typer.Option("--default", help="As many as agent.toml gives everybody.")] = False,
) -> None:
    """Give a tenant's person another number of messages than `free_messages` in agent.toml says."""
    from subclaw.commands.tenants import tenant_messages

    run(tenant_messages(settings(), console, tenant, number=number, is_unlimited=unlimited, is_default=default))


@tenants.command("suspend")
def tenants_suspend(
    tenant: Annotated[str, typer.Argument(help="The tenant's name, as `subclaw tenants` lists it.")],
    because: Annotated[str, typer.Option(help="What its person is told, once, when they write.")] = "",
) -> None:
    """Take a tenant's site, machine, channels and reminders down together; nothing of it is lost."""
    from subclaw.commands.suspension import suspend_tenant

    run(suspend_tenant(settings(), console, tenant, because=because))


@tenants.command("resume")
def tenants_resume(
    tenant: Annotated[str, typer.Argument(help="The tenant's name, as `subclaw tenants` lists it.")],
) -> None:
    """Let a suspended tenant go on where it was, with all that waited."""
    from subclaw.commands.suspension import resume_tenant

    run(resume_tenant(settings(), console, tenant))
