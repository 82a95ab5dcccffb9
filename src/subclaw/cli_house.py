"""The command line of tenants' houses: `subclaw house`."""

from pathlib import Path
from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

house = typer.Typer(
    help="The files by which a tenant makes its agent its own: what they are, from elsewhere, to elsewhere.",
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Argument(help="The tenant's name, as `subclaw tenants` lists it.")]


@house.command("show")
def house_show(tenant: Tenant, as_json: AsJson = False) -> None:
    """List a tenant's files: whose they are and what is wrong with them, never what is in them."""
    from subclaw.commands.house import show_house
    from subclaw.commands.house_ports import open_house_ports

    async def main() -> None:
        async with open_house_ports(settings()) as ports:
            await show_house(settings(), console, ports, tenant, as_json=as_json)

    run(main())


@house.command("reset")
def house_reset(
    tenant: Tenant,
    path: Annotated[str | None, typer.Argument(help="One file, such as system.md; else all but memory.md.")] = None,
) -> None:
    """Give a tenant back the default of a file, or of all. What has no default is removed."""
    from subclaw.commands.house import reset_house
    from subclaw.commands.house_ports import open_house_ports

    async def main() -> None:
        async with open_house_ports(settings()) as ports:
            await reset_house(settings(), console, ports, tenant, path)

    run(main())


@house.command("import")
def house_import(
    tenant: Tenant,
    path: Annotated[
        Path,
        typer.Argument(help="~/.openclaw or a workspace in it, ~/.hermes, or what `export` wrote; also .tar.gz, .zip."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of everything.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that the tenant has of its own.")] = False,
) -> None:
    """Bring an agent from OpenClaw, Hermes or another subclaw into a tenant's house, and say what became of it."""
    from subclaw.commands.house import import_house
    from subclaw.commands.house_ports import open_house_ports

    async def main() -> None:
        async with open_house_ports(settings()) as ports:
            await import_house(settings(), console, ports, tenant, path, is_dry=dry_run, replaces=replace)

    run(main())


@house.command("export")
def house_export(
    tenant: Tenant,
    file: Annotated[str, typer.Argument(help="A .tar.gz to write; - is standard output.")],
    home: Annotated[
        bool, typer.Option("--home", help="With what is in the machine's home folder and its site.")
    ] = False,
) -> None:
    """Write a tenant's house, reminders and model into one archive, for `import` here or elsewhere."""
    from subclaw.commands.house_export import export_house
    from subclaw.commands.house_ports import open_house_ports

    async def main() -> None:
        async with open_house_ports(settings()) as ports:
            await export_house(settings(), console, ports, tenant, file, with_home=home)

    run(main())
