"""The tools of an agent's folder: Python functions, OpenAPI operations and MCP servers, all behind its policy."""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from subclaw.business.enforcement import Audit, SessionOf, enforced
from subclaw.business.injection import BoundParameters, bound_parameters, injected, values_for
from subclaw.business.lines import wrong
from subclaw.business.mcp import McpServers
from subclaw.business.mcp_settings import MCP_FILE, read_mcp
from subclaw.business.openapi import OPENAPI_FILE, Operation, read_operations
from subclaw.business.openapi_call import told, written
from subclaw.business.outgoing import Requests
from subclaw.business.policy import read_tool_policy, require_tools
from subclaw.business.python_tools import TOOLS, is_tools_path
from subclaw.business.schemas import checked, inlined
from subclaw.business.tool_process import ToldTool, ToolProcess
from subclaw.core.business import AgentPackage, CustomerSession
from subclaw.core.errors import Denied, SubclawError, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_tool import NAME, alike
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.core.tool_policy import ToolPolicy
from subclaw.store.customers import session_of_conversation
from subclaw.store.database import Database
from subclaw.tools.toolbox import Tool

KEPT_LIMIT = 50
"""Of how many versions of agents a worker keeps the processes."""
RETRY_S = 30.0
"""How long a version goes without the tools of a server that did not answer, before that is asked again."""
SESSIONS_KEPT = 4_096
"""Of how many turns a worker keeps the session: more than it has under way."""

log = logging.getLogger(__name__)


def sessions_in(database: Database) -> SessionOf:
    """Return what finds the session of a caller's conversation, which is read once a turn: it never changes.

    The database is open in the application's role.
    """
    kept: OrderedDict[tuple[TenantId, int, str], CustomerSession] = OrderedDict()

    async def session_of(caller: Caller) -> CustomerSession:
        turn = caller.tenant_id, caller.conversation_id, caller.turn_id
        if found := kept.get(turn):
            return found
        found = await session_of_conversation(database, caller.tenant_id, caller.conversation_id)
        if found is None:
            raise Denied("This tool works in a customer's session alone.")
        kept[turn] = found
        if len(kept) > SESSIONS_KEPT:
            kept.popitem(last=False)
        return found

    return session_of


@dataclass(eq=False, kw_only=True)
class _Made:
    """The tools of one version, and what runs them. `stale_at_s` is when those that are missing are asked for again."""

    process: ToolProcess | None
    servers: McpServers
    tools: tuple[Tool, ...] = ()
    stale_at_s: float | None = None
    reading: asyncio.Task[None] | None = None
    """Asks for them again, while the others are used."""
    behind: tuple[list[Tool], tuple[Tool, ...]] | None = None
    """Its tools and others, and the same behind the policy."""

    async def close(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.wait([self.reading])
        await self.servers.close()
        if self.process is not None:
            await self.process.close()


class AgentTools:
    """Makes the tools of agents' versions, and keeps them with their processes; close it.

    `requests` goes out by the egress gateway; `hidden` are folders that no process of a tool sees, such as the state
    folder.
    """

    def __init__(
        self,
        *,
        requests: Requests,
        session_of: SessionOf,
        audit: Audit,
        clock: Callable[[], datetime],
        hidden: Sequence[Path] = (),
    ) -> None:
        self._requests = requests
        self._session_of = session_of
        self._audit = audit
        self._clock = clock
        self._hidden = tuple(hidden)
        self._making: dict[str, asyncio.Lock] = {}
        self._kept: OrderedDict[str, _Made] = OrderedDict()

    async def tools_of(self, package: AgentPackage, more: Sequence[Tool] = ()) -> tuple[Tool, ...]:
        """Return the tools of a version behind its policy, and `more` (those of a machine) behind the same one.

        They are for every customer: whose call it is, each call says. A part of the folder that cannot be used now is
        left out, and said in the log. Errors: `Invalid` for a folder whose policy cannot be read: then it has no tools.
        """
        made = await self._own(package)
        wanted = _with(made.tools, more)
        if made.behind is None or made.behind[0] != wanted:  # once: what arguments are checked by is made with a tool
            made.behind = wanted, self._enforced(read_tool_policy(package.files), wanted)
        return made.behind[1]

    async def examine(self, package: AgentPackage) -> tuple[ToolDefinition, ...]:
        """Return what the tools of a folder are, for a plan. Its files are run, in their closed room.

        Errors: `Invalid`, with file, line and remedy; `Unavailable` for an MCP server that does not answer.
        """
        made = self._made(package)
        try:
            found = [
                (path, tool.definition) for path, kind in self._kinds(package, made).items() for tool in await kind()
            ]
        finally:
            await made.close()
        _require_names(package, found)
        definitions = tuple(definition for _, definition in found)
        require_tools(package.files, {each.name for each in definitions} | set(package.machine_tools))
        return definitions

    async def close(self) -> None:
        """End all processes."""
        while self._kept:
            _, made = self._kept.popitem()
            await made.close()

    async def _own(self, package: AgentPackage) -> _Made:
        lock = self._making.setdefault(package.digest, asyncio.Lock())
        async with lock:
            made = self._kept.get(package.digest)
            if made is None:
                made = self._made(package)
                made.tools = await self._read(package, made)
                self._kept[package.digest] = made
            self._kept.move_to_end(package.digest)
        if made.stale_at_s is not None and asyncio.get_running_loop().time() >= made.stale_at_s:
            made.stale_at_s = None
            made.reading = asyncio.create_task(self._read_again(package, made))
        await self._forget_oldest()
        return made

    async def _read_again(self, package: AgentPackage, made: _Made) -> None:
        """Ask again for what is missing. Nobody waits: what does not answer takes half a minute to say so."""
        try:
            made.tools = await self._read(package, made)
        except Exception as error:
            log.error("agent %s: its tools were not read again: %s", package.id, type(error).__name__)
            made.stale_at_s = asyncio.get_running_loop().time() + RETRY_S

    async def _forget_oldest(self) -> None:
        if len(self._kept) > KEPT_LIMIT:
            digest, made = next(iter(self._kept.items()))
            if made.process is None or made.process.is_idle:
                del self._kept[digest]
                self._making.pop(digest, None)
                await made.close()

    def _made(self, package: AgentPackage) -> _Made:
        files = {path: content for path, content in package.files.items() if is_tools_path(path)}
        process = ToolProcess(files, self._requests.fetch, hidden=self._hidden) if files else None
        servers = McpServers(read_mcp(package.files), self._requests, self._session_of, self._hidden)
        return _Made(process=process, servers=servers)

    def _kinds(self, package: AgentPackage, made: _Made) -> Mapping[str, Callable[[], Awaitable[Sequence[Tool]]]]:
        """Return what gives the tools of each kind, by the file or folder that names them."""

        async def of_python() -> Sequence[Tool]:
            if made.process is None:
                return ()
            return [self._python_tool(made.process, told) for told in await made.process.tools()]

        async def of_openapi() -> Sequence[Tool]:
            return [self._operation_tool(operation) for operation in read_operations(package.files)]

        return {TOOLS: of_python, OPENAPI_FILE: of_openapi, MCP_FILE: made.servers.tools}

    async def _read(self, package: AgentPackage, made: _Made) -> tuple[Tool, ...]:
        """Return the tools of all kinds. What fails is left out for a while."""
        found: list[Tool] = []
        for kind in self._kinds(package, made).values():
            try:
                found += await kind()
            except SubclawError as error:
                log.error("agent %s: some of its tools are missing: %s", package.id, error.public)
                made.stale_at_s = asyncio.get_running_loop().time() + RETRY_S
        return tuple(found)

    def _enforced(self, policy: ToolPolicy, tools: Sequence[Tool]) -> tuple[Tool, ...]:
        return enforced(policy, tools, session_of=self._session_of, audit=self._audit, clock=self._clock)

    def _python_tool(self, process: ToolProcess, about: ToldTool) -> Tool:
        bound = bound_parameters(about.bound)

        async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
            values = {where[0]: value for where, value in (await self._values(bound, caller)).items()}
            return await process.call(caller, about, arguments, values)

        definition = ToolDefinition(
            name=about.name,
            description=about.description,
            parameters=checked(inlined(about.parameters, about.parameters)),
            idempotent=about.idempotent,
        )
        return Tool(definition=definition, perform=perform)

    def _operation_tool(self, operation: Operation) -> Tool:
        async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
            whole = injected(arguments, await self._values(operation.bound, caller))
            return told(await self._requests.make(caller, written(operation, whole, caller.call_id)))

        return Tool(definition=operation.definition, perform=perform)

    async def _values(self, bound: BoundParameters, caller: Caller) -> dict[tuple[str, ...], Any]:
        return values_for(bound, await self._session_of(caller)) if bound.places else {}


def _with(own: Sequence[Tool], more: Sequence[Tool]) -> list[Tool]:
    """Return tools and more, each name once: those of the platform go before."""
    found: dict[str, Tool] = {}
    for tool in (*more, *own):
        found.setdefault(alike(tool.definition.name), tool)
    return list(found.values())


def _require_names(package: AgentPackage, found: Sequence[tuple[str, ToolDefinition]]) -> None:
    """Refuse names that providers do not take, and two that nobody could tell apart. Errors: `Invalid`.

    `found` are tools by the file or folder that names them. Those of Python were told apart before.
    """
    names = {alike(name): name for name in package.machine_tools}
    for path, definition in found:
        name = definition.name
        if not NAME.fullmatch(name):
            problem = f"{name!r} is no name of a tool: letters, digits, _ and -, from a letter on."
            raise wrong(*_place(package, path, name), problem, "Give it a prefix.")
        if other := names.get(alike(name)):
            problem = f"There are two tools {other!r} and {name!r}."
            raise wrong(*_place(package, path, name), problem, "Give one of them another name.")
        names[alike(name)] = name


def _place(package: AgentPackage, within: str, name: str) -> tuple[str, int]:
    """Return where a file or a folder's files first have a name; its beginning if an MCP server said it."""
    for path, content in sorted(package.files.items()):
        if path == within or path.startswith(f"{within}/"):
            for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
                if re.search(rf"\b{re.escape(name)}\b", line):
                    return path, number
    return within, 1


async def keep_pruned(prune: Callable[[], Awaitable[int]], every_s: float = 3_600.0) -> None:
    """Forget decisions that are too old, now and every hour, until cancelled."""
    while True:
        try:
            await prune()
        except Unavailable as error:
            log.warning("old decisions are not forgotten: %s", error.internal)
        await asyncio.sleep(every_s)
