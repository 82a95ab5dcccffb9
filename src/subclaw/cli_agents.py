"""The command line of businesses' agents: `subclaw agents`."""

from typing import Annotated

import typer

from subclaw.cli_run import AsJson, console, run, settings

agents = typer.Typer(help="Agents of businesses: folders that are applied as versions.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The agent's name: its folder is agents/NAME.")]
Folder = Annotated[str, typer.Argument(help="The agent's name, of the folder agents/NAME; or the folder's path.")]
Model = Annotated[str | None, typer.Option(help="Another model for the agent, provider:model.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Show the first N.")]


@agents.command("init")
def agents_init(name: Name) -> None:
    """Make the folder of an example, which works as it is."""
    from subclaw.commands.agents import make_example

    make_example(console, name)


@agents.command("plan")
def agents_plan(folder: Folder, as_json: AsJson = False) -> None:
    """Say what is wrong with a folder, or what applying it would change, as a diff. Nothing is changed."""
    from subclaw.commands.agents import plan_agent

    run(plan_agent(settings(), console, folder, as_json=as_json))


@agents.command("apply")
def agents_apply(
    folder: Folder,
    canary: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Only for a share of the customers, such as 10%.")
    ] = None,
) -> None:
    """Keep a folder as a new version, which customers get with their next session."""
    from subclaw.commands.agents import apply_agent

    run(apply_agent(settings(), console, folder, canary=canary))


@agents.command("promote")
def agents_promote(name: Name) -> None:
    """Give everybody the version that a share of the customers has."""
    from subclaw.commands.agents import promote_agent

    run(promote_agent(settings(), console, name))


@agents.command("rollback")
def agents_rollback(
    name: Name,
    to: Annotated[int | None, typer.Option(min=1, help="The version's number; else the one before.")] = None,
) -> None:
    """Take the canary away, or go back to the version before. Sessions that are open stay as they are."""
    from subclaw.commands.agents import roll_agent_back

    run(roll_agent_back(settings(), console, name, to=to))


@agents.command("eval")
def agents_eval(
    folder: Folder,
    model: Model = None,
    judge: Annotated[
        str | None, typer.Option(help="Who plays customers and judges, provider:model; else the operator's model.")
    ] = None,
    case: Annotated[str | None, typer.Option(help="Only the case of this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Play the cases of a folder's evals against it, with tools that answer as the cases say. Exits 1 if one fails."""
    from subclaw.commands.agent_trials import Asked, eval_agent

    async def main() -> None:
        asked = Asked(model=model or "", judge=judge or "", case=case)
        if not await eval_agent(settings(), console, folder, asked, as_json=as_json):
            raise typer.Exit(1)

    run(main())


@agents.command("replay")
def agents_replay(
    conversation: Annotated[str, typer.Argument(help="The number of a conversation, or the id of a session.")],
    against: Annotated[str | None, typer.Option(help="A folder, or agents/NAME by its name.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="A version that is applied; else the session's.")] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Play a recorded conversation turn by turn against something else, with what tools said, and show what changes."""
    from subclaw.commands.agent_trials import Against, replay

    other = Against(folder=against, version=version, model=model or "")
    run(replay(settings(), console, conversation, other, as_json=as_json))


@agents.command("list")
def agents_list(limit: Limit = 100, as_json: AsJson = False) -> None:
    """List agents, and what of them is live."""
    from subclaw.commands.agents import list_agents

    run(list_agents(settings(), console, limit=limit, as_json=as_json))


@agents.command("versions")
def agents_versions(name: Name, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List an agent's versions, the newest first."""
    from subclaw.commands.agents import list_agent_versions

    run(list_agent_versions(settings(), console, name, limit=limit, as_json=as_json))


@agents.command("sessions")
def agents_sessions(
    name: Name,
    customer: Annotated[str | None, typer.Option(help="Only those of a customer, as the owner calls them.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List sessions of customers, the newest first, with the numbers of their conversations."""
    from subclaw.commands.agents import list_agent_sessions

    run(list_agent_sessions(settings(), console, name, customer=customer, limit=limit, as_json=as_json))


@agents.command("audit")
def agents_audit(
    name: Name,
    customer: Annotated[str | None, typer.Option(help="Only this customer, by the owner's id.")] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only what was denied or has to be approved.")] = False,
    days: Annotated[int, typer.Option(min=1, max=30, help="How far back.")] = 30,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what was decided on calls of an agent's tools, with reasons, the newest first."""
    from subclaw.commands.tool_audit import list_tool_decisions

    run(
        list_tool_decisions(
            settings(), console, name, customer=customer, only_denied=denied, days=days, limit=limit, as_json=as_json
        )
    )
