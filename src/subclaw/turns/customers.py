"""What a turn is for a customer: the version of the agent that the session is with, and no tool that is not in it."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from subclaw.business.package import read_package
from subclaw.business.skills import read_skills, skill_lines, skill_tools
from subclaw.core.business import AgentPackage, Compute
from subclaw.core.errors import Corrupt, Invalid, NotFound
from subclaw.core.turn import Conversation
from subclaw.models.by_name import OpenedModel
from subclaw.store.agents import version_files
from subclaw.store.database import Database
from subclaw.tools.toolbox import BuiltInToolbox, Tool
from subclaw.turns.run import Turns

KEPT_LIMIT = 100
"""How many versions a worker keeps what it has read of."""

ToolsOf = Callable[[AgentPackage, Sequence[Tool]], Awaitable[Sequence[Tool]]]
"""Makes the tools that a folder names, and gives them with those of the host that it has (for skills, the machine's).

It is asked once a turn, and keeps what takes long to make.
"""


async def no_more_tools(package: AgentPackage, own: Sequence[Tool]) -> Sequence[Tool]:
    """Return the tools of the host alone, whatever a folder names."""
    return own


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version as turns use it. `text` is what its agent is told, without the day, and `own` are the host's tools."""

    package: AgentPackage
    text: str
    own: Sequence[Tool]


class CustomerTailor:
    """Makes turns those of the version that a customer's session is with.

    `machine_tools` are the machine's tools for each kind of `Compute`, from which a version has those that it names.
    `model_of` opens models by name. Files that come or go with messages need a machine of the customer's own.
    """

    def __init__(
        self,
        *,
        database: Database,
        tools_of: ToolsOf,
        machine_tools: Mapping[Compute, Sequence[Tool]],
        model_of: Callable[[str], OpenedModel],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._tools_of = tools_of
        self._machine_tools = machine_tools
        self._model_of = model_of
        self._clock = clock
        self._kept: OrderedDict[tuple[str, int], Version] = OrderedDict()

    async def __call__(self, turns: Turns, conversation: Conversation) -> Turns:
        """Return the turns of a customer's conversation; see `Turns.tailor`. Errors: `Corrupt`, `Unavailable`."""
        version = await self._version(conversation.agent, conversation.agent_version)
        package, text = version.package, told_today(version, self._clock())
        tools = await self._tools_of(package, version.own)
        opened = self._model_of(package.model or conversation.model)
        has_files = package.compute is Compute.ON_DEMAND and bool(package.machine_tools)
        return replace(
            turns,
            instructions=lambda _: text,
            toolbox=BuiltInToolbox([]).joined(tools),
            agent=package.settings,
            model=opened.model,
            cheaper=opened.cheaper,
            tariff=opened.tariff,
            window_tokens=opened.window_tokens,
            files=turns.files if has_files else None,
            attachments=turns.attachments if has_files else None,
            outgoing=turns.outgoing if has_files else None,
        )

    async def _version(self, agent: str, number: int) -> Version:
        key = agent, number
        if key not in self._kept:
            self._kept[key] = await self._read(agent, number)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_LIMIT:
            self._kept.popitem(last=False)
        return self._kept[key]

    async def _read(self, agent: str, number: int) -> Version:
        try:
            package = read_package(await version_files(self._database, agent, number))
            return make_version(package, self._machine_tools.get(package.compute, ()))
        except (Invalid, NotFound) as error:
            public = "This conversation's agent cannot be used."
            raise Corrupt(public, internal=f"version {number} of {agent}: {error.internal}") from error


def make_version(package: AgentPackage, machine_tools: Sequence[Tool]) -> Version:
    """Return a version as turns use it; of `machine_tools` it has those that it names. Errors: `Invalid`."""
    skills = read_skills(package.files)
    of_machine = [tool for tool in machine_tools if tool.definition.name in package.machine_tools]
    text = "\n\n".join(filter(None, [package.instructions.strip(), skill_lines(skills)]))
    return Version(package=package, text=text, own=(*skill_tools(package.files, skills), *of_machine))


def told_today(version: Version, now: datetime) -> str:
    """Return what an agent is told of itself, with the day."""
    return f"{version.text}\n\nToday is {now.astimezone(UTC):%A %Y-%m-%d} in UTC."


def by_tenant(
    personal: Callable[[Turns, Conversation], Awaitable[Turns]],
    customers: Callable[[Turns, Conversation], Awaitable[Turns]],
) -> Callable[[Turns, Conversation], Awaitable[Turns]]:
    """Return what makes turns those of a customer's agent, or of a person's own."""

    async def tailor(turns: Turns, conversation: Conversation) -> Turns:
        return await (customers if conversation.agent else personal)(turns, conversation)

    return tailor
