"""The command line of accounts: `subclaw oauth`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

oauth = typer.Typer(help="Providers at which persons connect accounts for their agents.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What agents and persons call the provider.")]


@oauth.command("add")
def oauth_add(
    name: Name,
    client_id: Annotated[str, typer.Option(help="Who we are at the provider.")],
    preset: Annotated[str, typer.Option(help="google, github, slack, microsoft or notion: all that follows.")] = "",
    authorize_url: Annotated[str, typer.Option(help="Where persons consent.")] = "",
    token_url: Annotated[str, typer.Option(help="Where the gateway gets tokens.")] = "",
    revoke_url: Annotated[str, typer.Option(help="Where it hands them back.")] = "",
    scopes: Annotated[str, typer.Option(help="What persons are asked to consent to, with spaces.")] = "",
    hosts: Annotated[str, typer.Option(help="The hosts that tokens are for, with commas.")] = "",
    header: Annotated[str, typer.Option(help="Where a token goes.")] = "Authorization: Bearer {}",
    parameter: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, added to the address where persons consent; also again.")
    ] = None,
    basic: Annotated[bool, typer.Option("--basic", help="The client secret goes into Basic authentication.")] = False,
    redirect_uri: Annotated[
        str, typer.Option(help="One address for all tenants to come back to, of subclaw's own hostname.")
    ] = "",
    public: Annotated[bool, typer.Option("--public", help="There is no client secret.")] = False,
) -> None:
    """Set a provider, or set it anew. The client secret is typed unseen, or comes from standard input; it is sealed."""
    from subclaw.commands.oauth import ProviderOptions, set_provider, wanted_provider
    from subclaw.commands.secrets import read_value

    options = ProviderOptions(
        preset=preset,
        authorize_url=authorize_url,
        token_url=token_url,
        revoke_url=revoke_url,
        client_id=client_id,
        scopes=scopes,
        hosts=hosts,
        header=header,
        parameters=tuple(parameter or ()),
        basic=basic,
        redirect_uri=redirect_uri,
    )
    wanted = wanted_provider(name, options)
    key = "" if public else read_value(f"Client secret of {name}, or nothing to leave it as it is")
    run(set_provider(settings(), console, wanted, key))


@oauth.command("list")
def oauth_list(as_json: AsJson = False) -> None:
    """List the providers, and how many accounts are connected at each."""
    from subclaw.commands.oauth import list_all

    run(list_all(settings(), console, as_json=as_json))


@oauth.command("remove")
def oauth_remove(name: Name) -> None:
    """Remove a provider: all accounts at it are disconnected, and their tokens handed back."""
    from subclaw.commands.oauth import remove

    run(remove(settings(), console, name))
