"""The command line."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from subclaw.cli_agents import agents
from subclaw.cli_audit import audit
from subclaw.cli_domains import domains
from subclaw.cli_egress import policy, secrets
from subclaw.cli_house import house
from subclaw.cli_invites import invites
from subclaw.cli_keys import keys
from subclaw.cli_oauth import oauth
from subclaw.cli_run import AsJson, console, run, settings
from subclaw.cli_schedules import schedules
from subclaw.cli_sites import sites
from subclaw.cli_tenants import tenants
from subclaw.core.errors import SubclawError

cli = typer.Typer(
    name="subclaw",
    help="Text a number, get an agent; the agent borrows a computer when it needs one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
image = typer.Typer(help="The golden images that machines start from.", no_args_is_help=True)
cli.add_typer(image, name="image")
plans = typer.Typer(help="What machines may use, and which tenant is on which plan.", no_args_is_help=True)
cli.add_typer(plans, name="plans")
budgets = typer.Typer(help="What may be used at each level, and what is used of it.", no_args_is_help=True)
cli.add_typer(budgets, name="budgets")
approvals = typer.Typer(help="Calls that a person has to approve.", no_args_is_help=True)
cli.add_typer(approvals, name="approvals")
channels = typer.Typer(help="The ways in which people reach their agents.", no_args_is_help=True)
cli.add_typer(channels, name="channels")
outbox = typer.Typer(help="Replies that did not go out.", no_args_is_help=True)
cli.add_typer(outbox, name="outbox")
cli.add_typer(agents, name="agents")
cli.add_typer(audit, name="audit")
cli.add_typer(tenants, name="tenants")
cli.add_typer(house, name="house")
cli.add_typer(policy, name="policy")
cli.add_typer(secrets, name="secrets")
cli.add_typer(oauth, name="oauth")
cli.add_typer(domains, name="domains")
cli.add_typer(invites, name="invites")
cli.add_typer(keys, name="keys")
cli.add_typer(schedules, name="schedules")
cli.add_typer(sites, name="sites")

Level = Annotated[str, typer.Argument(help="operator, agent, tenant or conversation")]
Subject = Annotated[str, typer.Argument(help="A tenant's name, a conversation's number; '*' for each.")]
Kind = Annotated[str, typer.Argument(help="money, tokens, segments or machine-seconds")]
Period = Annotated[str, typer.Argument(help="day, month or total")]


def main() -> None:
    """Run a command. Whatever goes wrong on purpose is one line on standard error, and exit code 1."""
    try:
        cli()
    except SubclawError as error:
        Console(stderr=True, highlight=False).print(f"subclaw: {error.public}", markup=False, soft_wrap=True)
        sys.exit(1)


@cli.command()
def up() -> None:
    """Serve until Ctrl-C, and print the address of the web chat."""
    from subclaw.commands.up import serve_until_stopped

    run(serve_until_stopped(settings(), os.environ, console))


@cli.command()
def demo() -> None:
    """Play a new user who texts for a page: print the chat, the address, and the page as the web has it."""
    from subclaw.commands.demo import play

    run(play(settings(), os.environ, console))


@cli.command()
def doctor(as_json: AsJson = False) -> None:
    """Say of each thing that this host lacks what it is for and how to get it."""
    from subclaw.commands.doctor import report

    raise typer.Exit(report(settings(), os.environ, console, as_json=as_json))


@cli.command()
def chat(
    text: Annotated[str | None, typer.Argument(help="One message; without it, a conversation.")] = None,
    name: Annotated[str, typer.Option("--as", help="Who you are: each name has an agent of its own.")] = "",
    file: Annotated[list[Path] | None, typer.Option(help="A file to send along; can be given several times.")] = None,
) -> None:
    """Talk to your own agent on a running subclaw. In a pipe, what comes in is one message, and the reply goes out."""
    from subclaw.commands.chat import converse, say_once

    if text is None and not sys.stdin.isatty():
        text = sys.stdin.read()
    if text is None and not file:
        run(converse(settings(), console, name=name))
    else:
        aside = Console(stderr=True)
        run(say_once(settings(), console, text or "", name=name, files=file or [], aside=aside))


@cli.command()
def machines(as_json: AsJson = False) -> None:
    """List the machines that are awake."""
    from subclaw.commands.lists import list_machines

    run(list_machines(settings(), console, as_json=as_json))


@cli.command(name="console")
def console_() -> None:
    """Print the link to the operator's console of a running subclaw. Whoever has the link is signed in."""
    from subclaw.commands.console import print_link

    print_link(settings(), console)


@channels.command("doctor")
def channels_doctor(as_json: AsJson = False) -> None:
    """Say of each channel whether it is set up, what is pasted where, and whether its provider answers."""
    from subclaw.commands.channels import examine_channels

    run(examine_channels(settings(), console, as_json=as_json))


@image.command("build")
def image_build(
    recipe: Annotated[Path, typer.Option(help="The folder with the recipe.")] = Path("image"),
) -> None:
    """Build the golden image, unless the cache has it."""
    from subclaw.commands.image import build

    build(settings(), recipe, console)


@plans.command("list")
def plans_list(as_json: AsJson = False) -> None:
    """List the plans."""
    from subclaw.commands.plans import list_plans

    run(list_plans(settings(), console, as_json=as_json))


@plans.command("set")
def plans_set(
    name: Annotated[str, typer.Argument(help="A plan; a new one begins as a copy of `standard`.")],
    idle_timeout_s: Annotated[
        int | None, typer.Option("--idle-timeout", help="Seconds without use after which a machine sleeps.")
    ] = None,
    awake_hours: Annotated[
        float | None, typer.Option(help="Hours a day (UTC) that a machine may stay awake unused.")
    ] = None,
    disk_mb: Annotated[int | None, typer.Option(help="Size of a new disk.")] = None,
    memory: Annotated[bool | None, typer.Option(help="Whether what runs goes on after a sleep.")] = None,
) -> None:
    """Change a plan, or make one."""
    from subclaw.commands.plans import PlanChange, set_plan

    change = PlanChange(
        idle_timeout_s=idle_timeout_s, awake_hours=awake_hours, disk_mb=disk_mb, sleeps_with_memory=memory
    )
    run(set_plan(settings(), console, name, change))


@plans.command("assign")
def plans_assign(
    tenant: Annotated[str, typer.Argument(help="The tenant's name, as `subclaw tenants` lists it.")],
    plan: Annotated[str, typer.Argument(help="The plan's name.")],
) -> None:
    """Put a tenant on a plan."""
    from subclaw.commands.plans import put_on_plan

    run(put_on_plan(settings(), console, tenant, plan))


@budgets.command("list")
def budgets_list(as_json: AsJson = False) -> None:
    """List the budgets and what is used of them; for '*', by whoever has used most."""
    from subclaw.commands.budgets import list_budgets

    run(list_budgets(settings(), console, as_json=as_json))


@budgets.command("set")
def budgets_set(
    level: Level,
    subject: Subject,
    kind: Kind,
    period: Period,
    soft: Annotated[str | None, typer.Option(help="From here on: a warning and the cheaper model.")] = None,
    hard: Annotated[str | None, typer.Option(help="Nothing is used beyond this. Money is in dollars.")] = None,
) -> None:
    """Set a budget: both its limits, or one. A new one counts from now on; days and months are those of UTC."""
    from subclaw.commands.budgets import limit, parse_key

    run(limit(settings(), console, parse_key(level, subject, kind, period), soft=soft, hard=hard))


@budgets.command("remove")
def budgets_remove(level: Level, subject: Subject, kind: Kind, period: Period) -> None:
    """Remove a budget."""
    from subclaw.commands.budgets import parse_key, unlimit

    run(unlimit(settings(), console, parse_key(level, subject, kind, period)))


@approvals.command("list")
def approvals_list(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that wait.")] = False,
) -> None:
    """List what persons were asked to approve: tools, states and times, never arguments or codes."""
    from subclaw.commands.approvals import list_approvals

    run(list_approvals(settings(), console, limit=limit, only_open=only_open, as_json=as_json))


LetterId = Annotated[
    int, typer.Argument(min=1, max=2**63 - 1, help="The reply's id, as `subclaw outbox list` shows it.")
]


@outbox.command("list")
def outbox_list(
    as_json: AsJson = False, limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show the newest N.")] = 50
) -> None:
    """List replies that failed, that nobody can tell of, or that are tried again: figures and states, never words."""
    from subclaw.commands.outbox import list_outbox

    run(list_outbox(settings(), console, limit=limit, as_json=as_json))


@outbox.command("retry")
def outbox_retry(id: LetterId) -> None:
    """Send a reply again. One whose outcome is unknown may then arrive twice."""
    from subclaw.commands.outbox import retry

    run(retry(settings(), console, id))


@outbox.command("drop")
def outbox_drop(id: LetterId) -> None:
    """Give a reply up, so that it is not listed and not sent any more."""
    from subclaw.commands.outbox import drop

    run(drop(settings(), console, id))


@image.command("list")
def image_list(
    verify: Annotated[bool, typer.Option("--verify", help="Read every image whole and compare its SHA-256.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the images in the cache, and how many tenants are pinned to each."""
    from subclaw.commands.image import list_

    list_(settings(), console, verify=verify, as_json=as_json)


@image.command("prune")
def image_prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove the images that are neither current nor any tenant's, and what killed builds left."""
    from subclaw.commands.image import prune

    prune(settings(), console, dry_run=dry_run)


@cli.command(hidden=True)
def serve(
    process: Annotated[str, typer.Argument(help="web, worker, egress or host")],
    number: Annotated[int, typer.Option(help="which of several of its kind, from 0 on")] = 0,
) -> None:
    """Run one of the processes that `up` starts."""
    from subclaw.commands.serve import serve_process

    # uvloop where requests are many; the host spawns QEMU as uvloop cannot.
    run(serve_process(process, settings(), number), runner=asyncio.run if process == "host" else uvloop.run)
