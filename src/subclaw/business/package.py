"""An agent's folder, read into a value. Nothing in it is run: Python files are at most parsed."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from subclaw.business.evals import EVALS, read_evals
from subclaw.business.lines import line_of, wrong
from subclaw.business.python_tools import is_tools_path, tool_functions
from subclaw.business.skills import read_skills
from subclaw.business.toml import read_table, require_toml, text_of
from subclaw.core.agent import AgentSettings, OnBusy
from subclaw.core.business import (
    AGENT_ID,
    AUDIT_MODEL,
    AUDIT_PREFIX,
    OF_PERSONS,
    AgentPackage,
    Compute,
    CustomerChannel,
    digest_of,
)
from subclaw.core.errors import Invalid
from subclaw.core.skill import is_skill_path
from subclaw.models.choice import parse_choice

AGENT_FILE = "agent.toml"
INSTRUCTIONS_FILE = "instructions.md"
INSTRUCTIONS_LIMIT_CHARACTERS = 100_000
TABLES = ("openapi.toml", "mcp.toml", "policy.toml")
"""Files whose meaning is read with the tools that they are about; here it counts that they are TOML."""

PLAIN = ("README.md", *TABLES, AGENT_FILE, INSTRUCTIONS_FILE)

MACHINE_TOOLS = ("shell_exec", "read_file", "write_file", "search_files")
"""The machine's tools, of which an agent that may have a machine names those that it has."""

_Name = Annotated[str, Field(pattern=f"^{AGENT_ID.pattern}$")]
_Usd = Annotated[Decimal, Field(strict=False, gt=0, le=1_000_000)]


class _Budgets(BaseModel):
    """What one turn may use."""

    model_config = ConfigDict(extra="forbid", strict=True)

    turn_tokens: Annotated[int, Field(ge=1, le=10**9)] | None = None
    turn_usd: _Usd | None = None


class _Limits(BaseModel):
    """How long one turn may go on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    steps: Annotated[int, Field(ge=1, le=200)] = AgentSettings.step_limit
    turn_s: Annotated[int, Field(ge=10, le=86_400)] = AgentSettings.turn_limit_s
    approval_s: Annotated[int, Field(ge=60, le=86_400)] = AgentSettings.approval_expires_s


class _File(BaseModel):
    """What agent.toml may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: _Name
    model: Annotated[str, Field(max_length=200)] = ""
    compute: Annotated[Compute, Field(strict=False)] = Compute.NONE
    machine_tools: Annotated[list[str], Field(max_length=len(MACHINE_TOOLS))] = []
    channels: Annotated[list[Annotated[CustomerChannel, Field(strict=False)]], Field(min_length=1)] = [
        CustomerChannel.API
    ]
    on_busy: Annotated[OnBusy, Field(strict=False)] = OnBusy.FOLD
    budgets: _Budgets = _Budgets()
    limits: _Limits = _Limits()


def read_package(files: Mapping[str, bytes]) -> AgentPackage:
    """Read an agent's folder, given by path. Errors: `Invalid`, which names the file, the line, and the remedy."""
    for path in (AGENT_FILE, INSTRUCTIONS_FILE):
        if path not in files:
            raise wrong(path, 1, "There is no such file.", "Add it; `subclaw agents init NAME` makes an example.")
    found = read_table(files, AGENT_FILE, _File)
    _require_sense(text_of(files, AGENT_FILE), found)
    _require_known(files)
    for path in TABLES:
        if path in files:
            require_toml(files, path)
    tool_functions(files)
    read_skills(files)
    read_evals(files)
    return AgentPackage(
        id=found.id,
        instructions=_instructions(files),
        model=found.model if _is_audits(found) else found.model and str(parse_choice(found.model)),
        compute=found.compute,
        machine_tools=tuple(found.machine_tools),
        settings=_settings(found),
        channels=tuple(found.channels),
        files=dict(files),
        digest=digest_of(files),
    )


def _instructions(files: Mapping[str, bytes]) -> str:
    text = text_of(files, INSTRUCTIONS_FILE)
    if not text.strip():
        raise wrong(INSTRUCTIONS_FILE, 1, "There is nothing in it.", "Say who the agent is and what it does.")
    if len(text) > INSTRUCTIONS_LIMIT_CHARACTERS:
        line = text.count("\n", 0, INSTRUCTIONS_LIMIT_CHARACTERS) + 1
        limit = f"{INSTRUCTIONS_LIMIT_CHARACTERS:,} characters"
        raise wrong(
            INSTRUCTIONS_FILE, line, f"It is longer than {limit}.", "Shorten it; put what is rare into skills/."
        )
    return text


def _require_known(files: Mapping[str, bytes]) -> None:
    """Refuse files that would do nothing: most often the name of one is misspelt."""
    for path in files:
        folder, _, rest = path.partition("/")
        known = (
            path in PLAIN
            or is_tools_path(path)
            or is_skill_path(path)
            or (folder == EVALS and rest.endswith(".toml") and "/" not in rest)
            or (folder == "openapi" and rest.endswith((".json", ".yaml", ".yml")))
        )
        if not known:
            raise wrong(path, 1, "An agent's folder has no such file.", "Correct its name, or remove it.")


def _require_sense(text: str, found: _File) -> None:
    """Refuse settings that contradict each other, or name what there is not."""
    if found.id == OF_PERSONS:
        raise wrong(AGENT_FILE, line_of(text, ("id",)), "The agent of persons has this id.", "Choose another one.")
    if found.compute is Compute.NONE and found.machine_tools:
        line = line_of(text, ("machine_tools",))
        raise wrong(AGENT_FILE, line, 'machine_tools need a machine, and compute is "none".', "Remove one of the two.")
    for number, name in enumerate(found.machine_tools):
        if name not in MACHINE_TOOLS or name in found.machine_tools[:number]:
            line = line_of(text, ("machine_tools",))
            raise wrong(
                AGENT_FILE, line, f"machine_tools: {name!r} cannot be had.", f"Name some of {', '.join(MACHINE_TOOLS)}."
            )
    if found.id.startswith(AUDIT_PREFIX) and not _is_audits(found):
        line = line_of(text, ("id",))
        raise wrong(AGENT_FILE, line, f"Ids that begin with {AUDIT_PREFIX} are the audit's own.", "Choose another one.")
    if found.model and not _is_audits(found):
        try:
            parse_choice(found.model, "model")
        except Invalid as error:
            raise wrong(AGENT_FILE, line_of(text, ("model",)), error.public, "Correct its value.") from error


def _is_audits(found: _File) -> bool:
    """Say whether the audit of isolation answers: for its own agents alone."""
    return found.model == AUDIT_MODEL and found.id.startswith(AUDIT_PREFIX)


def _settings(found: _File) -> AgentSettings:
    usd = found.budgets.turn_usd
    return AgentSettings(
        on_busy=found.on_busy,
        step_limit=found.limits.steps,
        turn_limit_s=found.limits.turn_s,
        turn_limit_tokens=found.budgets.turn_tokens,
        turn_limit_microusd=None if usd is None else int(usd * 1_000_000),
        approval_expires_s=found.limits.approval_s,
    )
