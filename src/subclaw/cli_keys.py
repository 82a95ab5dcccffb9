"""The command line of API keys: `subclaw keys`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

keys = typer.Typer(help="Keys by which an owner's server uses the HTTP API.", no_args_is_help=True)


@keys.command("make")
def keys_make(
    name: Annotated[str, typer.Argument(help="What it is for, in your words.")],
    scope: Annotated[list[str], typer.Option(help="What it may do, such as sessions:write; * is everything.")],
    agent: Annotated[list[str] | None, typer.Option(help="For this agent only; may be said again.")] = None,
    per_minute: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="How many calls a minute it is good for.")
    ] = 600,
    days: Annotated[
        int | None, typer.Option(min=1, max=3_650, help="How long it is good for; for ever if not said.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: once, since only a hash is kept."""
    from subclaw.commands.keys import make

    wanted = make(
        settings(),
        console,
        name=name,
        scopes=scope,
        agents=agent or [],
        per_minute=per_minute,
        days=days,
        as_json=as_json,
    )
    run(wanted)


@keys.command("list")
def keys_list(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50, as_json: AsJson = False
) -> None:
    """List keys: what each is for, how it begins, until when it is good, and when it was used last."""
    from subclaw.commands.keys import show_list

    run(show_list(settings(), console, limit=limit, as_json=as_json))


@keys.command("revoke")
def keys_revoke(number: Annotated[int, typer.Argument(help="The key's number, as the list has it.")]) -> None:
    """End a key at once, and all session tokens that were signed with it."""
    from subclaw.commands.keys import revoke

    run(revoke(settings(), console, number))


@keys.command("rotate")
def keys_rotate(
    number: Annotated[int, typer.Argument(help="The key's number, as the list has it.")],
    overlap_hours: Annotated[int, typer.Option(min=0, max=720, help="For how long the old one is still good.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Make another key for the same, and print it; the old one ends after a while."""
    from subclaw.commands.keys import rotate

    run(rotate(settings(), console, number, overlap_hours=overlap_hours, as_json=as_json))
