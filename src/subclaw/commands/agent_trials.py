"""`subclaw agents eval | replay`: how an agent does before customers have it."""

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from subclaw.agent_file import read_agent
from subclaw.app.addresses import database_address
from subclaw.app.agent_tools import examined_tools
from subclaw.app.business import trial_version
from subclaw.business.evals import Case, read_evals
from subclaw.business.package import read_package
from subclaw.business.policy import read_tool_policy
from subclaw.business.trial_policy import guarded
from subclaw.commands.agents import read_agent_folder
from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.commands.tenants import reachable_providers
from subclaw.config import Settings
from subclaw.core.business import AgentPackage
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.tool import ToolDefinition
from subclaw.egress.control.client import gateway_client
from subclaw.home import Home, require_running
from subclaw.models.by_name import ModelsByName, OpenedModel
from subclaw.models.choice import DEMO, usable_choice
from subclaw.store.agents import version_files
from subclaw.store.customers import conversation_of, session_of
from subclaw.store.database import Role, open_database
from subclaw.store.recordings import Recording, owner_of, read_recording
from subclaw.turns.customers import told_today
from subclaw.turns.evals import Stage, run_cases
from subclaw.turns.rehearsal import Rehearsal
from subclaw.turns.replay import Compared, replay_turns

SHOWN_CHARACTERS = 160


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which models play which part, each `provider:model` or empty; and the case that is played, if only one is."""

    model: str
    judge: str
    case: str | None


@dataclass(frozen=True, kw_only=True)
class Against:
    """What a conversation is replayed against: a folder, a version that is applied, or the session's own; a model."""

    folder: str | None
    version: int | None
    model: str


async def eval_agent(settings: Settings, console: Console, folder: str, asked: Asked, *, as_json: bool) -> bool:
    """Play a folder's cases and print what their checks came to. Returns whether all are met.

    Errors: `Invalid`, `NotFound`, `Unavailable`.
    """
    package, tools = await read_agent_folder(settings, folder)
    cases = [case for case in read_evals(package.files) if asked.case in (None, case.name)]
    if not cases:
        raise NotFound(f"There is no such case in {package.id}/evals.")
    async with trial_models(settings) as model_of:
        rehearsal = _rehearsal(settings, package, tools, model_of(asked.model or package.model))
        other = model_of(asked.judge).model if any(map(_needs_other, cases)) else rehearsal.model
        stage = Stage(rehearsal=rehearsal, other=other)
        verdicts = await run_cases(stage, cases)
    rows = [
        {"case": verdict.case, "check": verdict.check, "met": verdict.is_met, "why": verdict.why}
        for verdict in verdicts
    ]
    show(rows, console, as_json=as_json, none="There is nothing to check.")
    return all(verdict.is_met for verdict in verdicts)


async def replay(settings: Settings, console: Console, conversation: str, against: Against, *, as_json: bool) -> None:
    """Replay a conversation and print what changes, turn by turn. Errors: `Invalid`, `NotFound`, `Unavailable`."""
    if against.folder is not None and against.version is not None:
        raise Invalid("Say --against or --version, not both.")
    recording = await _recording(settings, conversation)
    if against.folder is not None:
        package, tools = await read_agent_folder(settings, against.folder)
    else:
        package = await _applied(settings, recording.agent, against.version or recording.version)
        tools = await examined_tools(settings, package)
    async with trial_models(settings) as model_of:
        rehearsal = _rehearsal(settings, package, tools, model_of(against.model or package.model))
        compared = await replay_turns(rehearsal, recording)
    rows = [_row(turn, whole=as_json) for turn in compared]
    show(rows, console, as_json=as_json, none="There is no turn in that conversation.")


@asynccontextmanager
async def trial_models(settings: Settings) -> AsyncIterator[Callable[[str], OpenedModel]]:
    """Give what opens models by name, "" for the operator's, by way of the box that runs. Errors: `Unavailable`.

    What it gives raises `Invalid` for a model that cannot be asked: a trial with another one would say nothing.
    """
    home = Home(settings.home)
    require_running(home)
    agent, providers = read_agent(home.agent_file), reachable_providers(settings)

    def opened(name: str) -> OpenedModel:
        choice = usable_choice(name, providers) if name else settings.model
        if choice == DEMO:
            raise Invalid("No model is set up here: say --model provider:model, or set SUBCLAW_MODEL.")
        return ModelsByName(choice, agent, gateway, settings.upstreams).model_of("")

    async with gateway_client(home.egress_socket) as gateway:
        yield opened


def _rehearsal(
    settings: Settings, package: AgentPackage, tools: Sequence[ToolDefinition], opened: OpenedModel
) -> Rehearsal:
    version = trial_version(package, tools, Home(settings.home).host_socket)
    return Rehearsal(
        instructions=told_today(version, datetime.now(UTC)),
        model=opened.model,
        tools=version.own,
        step_limit=package.settings.step_limit,
        window_tokens=opened.window_tokens,
        guard=functools.partial(guarded, read_tool_policy(package.files)),
    )


async def _recording(settings: Settings, conversation: str) -> Recording:
    async with (
        operator_database(settings) as operator,
        open_database(database_address(settings), Role.APP, size=1) as database,
    ):
        if conversation.isascii() and conversation.isdigit() and len(conversation) < 19:
            number = int(conversation)
            return await read_recording(database, await owner_of(operator, number), number)
        session = await session_of(database, conversation)
        if session is None:
            raise NotFound("There is no such session.")
        number = await conversation_of(database, session.tenant_id, session.session_id)
        return await read_recording(database, session.tenant_id, number)


async def _applied(settings: Settings, agent: str, version: int) -> AgentPackage:
    async with operator_database(settings) as operator:
        return read_package(await version_files(operator, agent, version))


def _needs_other(case: Case) -> bool:
    """Say whether a case needs a model beside the agent's: to play its customer, or to judge."""
    return case.user is not None or any(check.judge is not None for check in case.check)


def _row(turn: Compared, *, whole: bool) -> dict[str, object]:
    def shown(text: str) -> str:
        return text if whole or len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"

    return {
        "turn": turn.number,
        "said": shown(turn.said),
        "changed": ", ".join(turn.changed()),
        "before": shown(turn.before.reply),
        "after": shown(turn.failed or turn.after.reply),
        "calls before": shown("; ".join(turn.before.calls)),
        "calls after": shown("; ".join(turn.after.calls)),
        "not recorded": shown("; ".join(turn.unknown)),
        "tokens": turn.after.tokens - turn.before.tokens,
    }
