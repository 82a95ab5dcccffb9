"""The command line of invites: `subclaw invites`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

invites = typer.Typer(
    help='Codes by which strangers come in, where agent.toml says entry = "invite".', no_args_is_help=True
)


@invites.command("make")
def invites_make(
    uses: Annotated[int, typer.Option(min=1, max=100_000, help="How many people may come in by one code.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How long it is good for.")] = 30,
    count: Annotated[int, typer.Option(min=1, max=1_000, help="How many codes to make.")] = 1,
    note: Annotated[str, typer.Option(help="Whom it is for, in your words.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make codes and print them: once, since only hashes are kept."""
    from subclaw.commands.invites import make_invites

    run(make_invites(settings(), console, uses=uses, days=days, count=count, note=note, as_json=as_json))


@invites.command("list")
def invites_list(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50, as_json: AsJson = False
) -> None:
    """List codes by number and note: how often each was used, and until when it is good."""
    from subclaw.commands.invites import list_invites

    run(list_invites(settings(), console, limit=limit, as_json=as_json))


@invites.command("revoke")
def invites_revoke(number: Annotated[int, typer.Argument(help="The code's number, as the list has it.")]) -> None:
    """End a code; those who came in by it stay."""
    from subclaw.commands.invites import revoke_invite

    run(revoke_invite(settings(), console, number))
