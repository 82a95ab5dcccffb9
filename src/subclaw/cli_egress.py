"""The command line of the way out: `subclaw policy` and `subclaw secrets`."""

from pathlib import Path
from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings
from subclaw.core.policy import HTTPS_PORT, Mode, Rule
from subclaw.core.secret import Binding

policy = typer.Typer(help="Which hosts machines may reach, and what they asked for.", no_args_is_help=True)
secrets = typer.Typer(help="Keys and passwords for machines, which never have them.", no_args_is_help=True)

Tenant = Annotated[str | None, typer.Option(help="A tenant's name.")]
ForAgent = Annotated[bool, typer.Option("--agent", help="For the machines of the agent.")]
ForTools = Annotated[
    str | None, typer.Option("--tools", metavar="AGENT", help="For the tools of a business's agent; for no machine.")
]
Host = Annotated[str, typer.Argument(help="A hostname, or '*.' and one: all names below it.")]
Port = Annotated[str | None, typer.Option(help="One port or several, with commas (443).")]
Methods = Annotated[str | None, typer.Option(help="HTTP methods, with commas (all).")]
Paths = Annotated[str | None, typer.Option(help="Paths, with commas (all); * is anything, /{x} one segment.")]
Comment = Annotated[str, typer.Option(help="Why the rule is there.")]
Name = Annotated[str, typer.Argument(help="The environment variable that commands on machines find it in.")]


@policy.command("list")
def policy_list(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the rules, or those that apply to a tenant."""
    from subclaw.commands.policy import list_policy

    run(list_policy(settings(), console, tenant=tenant, as_json=as_json))


@policy.command("allow")
def policy_allow(
    host: Host,
    port: Port = None,
    methods: Methods = None,
    paths: Paths = None,
    mode: Annotated[str, typer.Option(help="inspect, splice (bytes pass unseen) or inject (with secrets)")] = "inspect",
    address: Annotated[
        list[str] | None, typer.Option(help="Where the host is, in place of what its name says; also again.")
    ] = None,
    tenant: Tenant = None,
    agent: ForAgent = False,
    tools: ForTools = None,
    comment: Comment = "",
) -> None:
    """Let machines reach a host: all of them, the agent's or a tenant's; or let the tools of a business's agent."""
    from subclaw.commands.owners import parse_owner
    from subclaw.commands.policy import add, parse_mode

    rule = _rule(host, port, methods, paths, parse_mode(mode), tuple(address or ()), comment)
    run(add(settings(), console, rule, parse_owner(tenant, agent, tools)))


@policy.command("deny")
def policy_deny(
    host: Host,
    port: Port = None,
    methods: Methods = None,
    paths: Paths = None,
    tenant: Tenant = None,
    agent: ForAgent = False,
    tools: ForTools = None,
    comment: Comment = "",
) -> None:
    """Deny a host, or some requests to it, whatever else is allowed."""
    from subclaw.commands.owners import parse_owner
    from subclaw.commands.policy import add

    rule = _rule(host, port, methods, paths, Mode.DENY, (), comment)
    run(add(settings(), console, rule, parse_owner(tenant, agent, tools)))


@policy.command("remove")
def policy_remove(
    id: Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="The rule's id, as `subclaw policy list` shows it.")],
) -> None:
    """Remove a rule."""
    from subclaw.commands.policy import remove

    run(remove(settings(), console, id))


RequestId = Annotated[
    int, typer.Argument(min=1, max=2**63 - 1, help="The request's id, as `subclaw policy requests` shows it.")
]


@policy.command("requests")
def policy_requests(as_json: AsJson = False) -> None:
    """List what agents ask for and wait for, where only the operator opens hosts."""
    from subclaw.commands.access_requests import list_requests

    run(list_requests(settings(), console, as_json=as_json))


@policy.command("approve")
def policy_approve(id: RequestId) -> None:
    """Let a tenant's machine reach what its agent asked for; the agent goes on by itself."""
    from subclaw.commands.access_requests import approve

    run(approve(settings(), console, id))


@policy.command("refuse")
def policy_refuse(
    id: RequestId, because: Annotated[str, typer.Option(help="Why not; the agent is told.")] = ""
) -> None:
    """Refuse what an agent asked for; it is told so."""
    from subclaw.commands.access_requests import refuse

    run(refuse(settings(), console, id, because))


@policy.command("log")
def policy_log(
    tenant: Tenant = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was denied.")] = False,
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h, 7d.")] = "24h",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what machines asked for and what was decided, by the hour."""
    from subclaw.commands.policy import list_log, parse_since

    run(
        list_log(
            settings(),
            console,
            tenant=tenant,
            only_denied=denied,
            since=parse_since(since),
            limit=limit,
            as_json=as_json,
        )
    )


@policy.command("dry-run")
def policy_dry_run(
    file: Annotated[Path | None, typer.Argument(help="A policy in TOML, as in [egress] of agent.toml.")] = None,
    tenant: Tenant = None,
    days: Annotated[int, typer.Option(min=1, max=30, help="How far back.")] = 30,
    as_json: AsJson = False,
    agent: Annotated[str | None, typer.Option(help="A business's agent: the policy is that of its tools.")] = None,
    policy: Annotated[Path | None, typer.Option(help="With --agent: its policy.toml.")] = None,
) -> None:
    """Say which requests, or with --agent which calls of its tools, a policy would have stopped or let through."""
    from subclaw.commands.dry_run import dry_run_file
    from subclaw.commands.tool_audit import dry_run_tools

    file = policy or file
    if file is None:
        raise typer.BadParameter("Say which policy's file it is.")
    if agent is not None:
        run(dry_run_tools(settings(), console, agent, file, days=days, as_json=as_json))
        return
    run(dry_run_file(settings(), console, file, tenant=tenant, days=days, as_json=as_json))


Amount = Annotated[str | None, typer.Option(help="A number; `default` takes back what was set.")]


@policy.command("quota")
def policy_quota(
    tenant: Tenant = None,
    requests_per_minute: Amount = None,
    connections: Amount = None,
    bytes_per_day: Amount = None,
) -> None:
    """Say what a tenant may use, or each that has nothing of its own, and change it."""
    from subclaw.commands.policy import quota

    given = {
        "requests_per_minute": requests_per_minute,
        "connections": connections,
        "bytes_per_day": bytes_per_day,
    }
    change = [(name, text) for name, text in given.items() if text is not None]
    run(quota(settings(), console, tenant=tenant, change=change))


@secrets.command("set")
def secrets_set(
    name: Name,
    hosts: Annotated[str, typer.Option(help="The hosts that it is for, with commas; '*.' and a name is all below.")],
    ports: Port = None,
    methods: Methods = None,
    paths: Paths = None,
    header: Annotated[
        str | None, typer.Option(help="NAME (authorization), or 'NAME: Bearer {}' to put it into every request.")
    ] = None,
    basic: Annotated[
        str | None, typer.Option(help="Basic authentication of this user ('': any); 'USER:{}' for every request.")
    ] = None,
    query: Annotated[str | None, typer.Option(help="A parameter of the query.")] = None,
    path: Annotated[bool, typer.Option("--path", help="It stands in the path.")] = False,
    plain_http: Annotated[bool, typer.Option("--plain-http", help="It may go out without TLS.")] = False,
    tenant: Tenant = None,
    agent: ForAgent = False,
    tools: ForTools = None,
) -> None:
    """Set a secret, or its value anew: typed unseen, or from standard input. It is sealed at once."""
    from subclaw.commands.owners import parse_owner, parse_ports, split
    from subclaw.commands.secrets import PlaceOptions, read_value, set_secret, wanted_secret

    binding = Binding(
        hosts=split(hosts),
        ports=parse_ports(ports, ()),
        methods=split(methods),
        paths=split(paths),
        plain=plain_http,
    )
    place = PlaceOptions(header=header, basic=basic, query=query, path=path)
    wanted = wanted_secret(name, parse_owner(tenant, agent, tools), binding, place)
    run(set_secret(settings(), console, wanted, read_value(name)))


@secrets.command("list")
def secrets_list(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List secrets: where they go and when they were used, never their values."""
    from subclaw.commands.secrets import list_all

    run(list_all(settings(), console, tenant=tenant, as_json=as_json))


@secrets.command("revoke")
def secrets_revoke(name: Name, tenant: Tenant = None, agent: ForAgent = False) -> None:
    """Remove a secret: its placeholder opens nothing any more."""
    from subclaw.commands.owners import parse_owner
    from subclaw.commands.secrets import revoke

    run(revoke(settings(), console, name, parse_owner(tenant, agent)))


def _rule(
    host: str,
    port: str | None,
    methods: str | None,
    paths: str | None,
    mode: Mode,
    addresses: tuple[str, ...],
    comment: str,
) -> Rule:
    from subclaw.commands.owners import parse_ports, split

    return Rule(
        host=host,
        ports=parse_ports(port, (HTTPS_PORT,)),
        methods=split(methods),
        paths=split(paths),
        mode=mode,
        addresses=addresses,
        comment=comment,
    )
