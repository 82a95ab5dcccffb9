"""`subclaw agents`: an agent's folder made, compared, applied, tried on a share, and taken back."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path

from rich.console import Console

from subclaw.app.agent_tools import examined_tools
from subclaw.business.changes import changed_paths, changes
from subclaw.business.folder import read_folder
from subclaw.business.init import example_files
from subclaw.business.lines import line_of, wrong
from subclaw.business.package import AGENT_FILE, read_package
from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.commands.tenants import reachable_providers
from subclaw.config import Settings
from subclaw.core.business import AgentPackage
from subclaw.core.errors import Conflict, Invalid, NotFound
from subclaw.core.tool import ToolDefinition
from subclaw.models.choice import usable_choice
from subclaw.store.agents import (
    AppliedAgent,
    applied_agent,
    applied_agents,
    apply,
    list_sessions,
    list_versions,
    promote,
    roll_back,
    version_files,
)
from subclaw.store.database import Database

AGENTS = Path("agents")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SHARE = re.compile(r"([1-9]|[1-9][0-9])%?")


def make_example(console: Console, name: str) -> None:
    """Make the folder `agents/NAME` with an example in it. Errors: `Invalid`, `Conflict`."""
    files, folder = example_files(name), AGENTS / name
    if folder.exists():
        raise Conflict(f"{folder} is there already.")
    try:
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    except OSError as error:
        raise Invalid(f"{error.filename} cannot be written: {error.strerror}.") from error
    _print(console, f"{folder} is an agent that works. Next: subclaw agents plan {name}")


async def plan_agent(settings: Settings, console: Console, name: str, *, as_json: bool) -> None:
    """Print what applying a folder would change, as a diff. Errors: `Invalid`, by file, line and remedy."""
    package, _ = await read_agent_folder(settings, name)
    async with operator_database(settings) as operator:
        agent = await applied_agent(operator, package.id)
        before = await _live_files(operator, agent)
    paths = changed_paths(before, package.files)
    if as_json:
        show([{"change": what, "path": path} for what, path in paths], console, as_json=True, none="")
        return
    for line in changes(before, package.files):
        _print(console, line)
    if not paths:
        _print(console, f"{package.id} is applied as it is: nothing would change.")
    else:
        to = "a new agent" if agent is None or agent.live is None else f"version {agent.live}, which is live"
        _print(console, f"{len(paths)} files of {package.id} would change against {to}: subclaw agents apply {name}")


async def apply_agent(settings: Settings, console: Console, name: str, *, canary: str | None) -> None:
    """Keep a folder as a version, and make it live, or the canary of a share. Errors: `Invalid`, `Conflict`."""
    share = _share(canary) if canary is not None else 0
    package, _ = await read_agent_folder(settings, name)
    async with operator_database(settings) as operator:
        number = await apply(operator, package, canary_share=share)
    who = f"{share}% of its customers get it" if share else "its customers get it"
    _print(console, f"Version {number} of {package.id} is applied: {who} with their next session.")


async def promote_agent(settings: Settings, console: Console, agent: str) -> None:
    """Give everybody the canary. Errors: `NotFound`, `Conflict`."""
    async with operator_database(settings) as operator:
        number = await promote(operator, agent)
    _print(console, f"Version {number} of {agent} is live for everybody.")


async def roll_agent_back(settings: Settings, console: Console, agent: str, *, to: int | None) -> None:
    """Go back to the version before, or to one; or take the canary away. Errors: `NotFound`, `Conflict`."""
    async with operator_database(settings) as operator:
        number = await roll_back(operator, agent, to=to)
    _print(console, f"Version {number} of {agent} is live, for everybody.")


async def list_agents(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """List agents, and what of them is live."""
    async with operator_database(settings) as operator:
        found = await applied_agents(operator, limit=limit)
    rows = [
        {
            "agent": agent.id,
            "live": agent.live or "",
            "canary": agent.canary or "",
            "share": f"{agent.canary_share}%" if agent.canary else "",
        }
        for agent in found
    ]
    show(rows, console, as_json=as_json, none="No agent is applied: subclaw agents init NAME")


async def list_agent_versions(settings: Settings, console: Console, name: str, *, limit: int, as_json: bool) -> None:
    """List an agent's versions, the newest first. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        agent = await applied_agent(operator, name)
        found = await list_versions(operator, name, limit=limit)
    if agent is None:
        raise NotFound(f"There is no agent {name[:64]!r}.")
    rows = [
        {
            "version": version.number,
            "state": _state(agent, version.number),
            "digest": version.digest[:12],
            "applied": version.applied_at.astimezone(UTC).strftime(_TIME),
            "files": version.files,
            "bytes": version.size_bytes,
            "sessions": version.sessions,
        }
        for version in found
    ]
    show(rows, console, as_json=as_json, none="There are no versions.")


async def list_agent_sessions(
    settings: Settings, console: Console, name: str, *, customer: str | None, limit: int, as_json: bool
) -> None:
    """List an agent's sessions, the newest first: never their ids, by which they are entered, nor their words."""
    async with operator_database(settings) as operator:
        found = await list_sessions(operator, name, customer=customer, limit=limit)
    rows = [
        {
            "conversation": session.conversation_id,
            "customer": session.customer,
            "version": session.version,
            "opened": session.opened_at.astimezone(UTC).strftime(_TIME),
            "messages": session.messages,
        }
        for session in found
    ]
    show(rows, console, as_json=as_json, none="There are no sessions.")


async def read_agent_folder(settings: Settings, name: str) -> tuple[AgentPackage, Sequence[ToolDefinition]]:
    """Read a folder, by its path or by an agent's name, for this box. Returns it, and what its tools are.

    Errors: `NotFound`, `Invalid`, and `Unavailable` if one of its servers does not answer.
    """
    folder = Path(name) if "/" in name or not (AGENTS / name).is_dir() else AGENTS / name
    try:
        package = read_package(read_folder(folder))
        _require_known_here(settings, folder, package)
        return package, await examined_tools(settings, package)
    except Invalid as error:
        place = error.public if error.public.startswith(str(folder)) else f"{folder}/{error.public}"
        raise Invalid(place) from error


def _require_known_here(settings: Settings, folder: Path, package: AgentPackage) -> None:
    """Refuse a folder of `agents/` that is named otherwise than its agent, and a model that this box cannot ask."""
    text = package.files[AGENT_FILE].decode()
    if folder.parent == AGENTS and folder.name != package.id:
        line = line_of(text, ("id",))
        raise wrong(
            AGENT_FILE, line, f"The id is {package.id}, and the folder's name is not.", "Rename one of the two."
        )
    if package.model:
        try:
            usable_choice(package.model, reachable_providers(settings))
        except Invalid as error:
            raise Invalid(f"{AGENT_FILE}:{line_of(text, ('model',))}: {error.public}") from error


async def _live_files(operator: Database, agent: AppliedAgent | None) -> Mapping[str, bytes]:
    return {} if agent is None or agent.live is None else await version_files(operator, agent.id, agent.live)


def _share(text: str) -> int:
    found = _SHARE.fullmatch(text.strip())
    if not found:
        raise Invalid(f"--canary {text!r} is no share of customers: say 1% to 99%.")
    return int(found[1])


def _state(agent: AppliedAgent, number: int) -> str:
    if number == agent.live:
        return "live"
    return f"canary {agent.canary_share}%" if number == agent.canary else ""


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)
