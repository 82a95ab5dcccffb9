"""MCP servers as tools, by the official SDK: processes in closed rooms, or by HTTP through the egress gateway.

A process serves all customers of one agent's version, is started anew after it died, and has no network. By HTTP each
call is a connection of its own, as its customer's tenant: what a server keeps of one is never another's. What all of
them would ask first, how the server is spoken to and what tools it has, is asked once.
Source: Model Context Protocol, 2025-11-25 and 2026-07-28, sections Transports and Tools.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from subclaw.business.enforcement import SessionOf
from subclaw.business.injection import bound_parameters, injected, values_for
from subclaw.business.mcp_settings import MCP_FILE, McpServerSettings
from subclaw.business.mcp_stdio import stdio_server
from subclaw.business.outgoing import Requests
from subclaw.business.schemas import checked, inlined, without
from subclaw.core.errors import Invalid, SubclawError, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.egress.control.tenant_client import tenant_client
from subclaw.tools.toolbox import Tool

START_LIMIT_S = 30.0
PAGES_LIMIT = 20
DESCRIPTION_LIMIT_CHARACTERS = 1_000
CATALOGUE = TenantId(2**62)
"""As whose a server is asked for its tools: nobody's, who may reach what everybody may."""

_SILENT = (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT)
"""What the SDK says of a server that gave no answer."""

log = logging.getLogger(__name__)


class McpProcess:
    """A server that is a process. A task of its own holds the connection, as the SDK wants it; close it."""

    def __init__(self, settings: McpServerSettings, hidden: Sequence[Path]) -> None:
        self.settings = settings
        self._hidden = hidden
        self._starting = asyncio.Lock()
        self._client: Client | None = None
        self._holder: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()

    async def client(self) -> Client:
        """Return the connection; the server is started if it does not run. Errors: `Unavailable`, in words."""
        async with self._starting:
            if self._client is None or self._holder is None or self._holder.done():
                await self._end()
                ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
                self._leave = asyncio.Event()
                self._holder = asyncio.create_task(self._hold(ready, self._leave))
                try:
                    async with asyncio.timeout(START_LIMIT_S):
                        self._client = await ready
                except TimeoutError:
                    await self._end()
                    raise Unavailable(f"The MCP server {self.settings.name} did not start in time.") from None
            return self._client

    async def drop(self, client: Client) -> None:
        """End a connection that is of no use any more; the next call starts the server anew."""
        async with self._starting:
            if self._client is client:
                await self._end()

    async def close(self) -> None:
        """End the server."""
        async with self._starting:
            await self._end()

    async def _end(self) -> None:
        holder, self._holder, self._client = self._holder, None, None
        if holder is not None:
            self._leave.set()
            await asyncio.wait([holder], timeout=START_LIMIT_S)
            holder.cancel()

    async def _hold(self, ready: asyncio.Future[Client], leave: asyncio.Event) -> None:
        path = f"{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        server = stdio_server(self.settings.command, self.settings.environment, path=path, hidden=self._hidden)
        try:
            async with Client(server, read_timeout_seconds=self.settings.timeout_s) as client:
                if not ready.done():
                    ready.set_result(client)
                await leave.wait()
        except Exception as error:
            log.warning("the MCP server %s ended: %s", self.settings.name, type(error).__name__)
            if not ready.done():
                ready.set_exception(Unavailable(f"The MCP server {self.settings.name} cannot be started."))
        finally:
            if not ready.done():
                ready.set_exception(Unavailable(f"The MCP server {self.settings.name} ended at once."))


@dataclass(kw_only=True)
class Acquaintance:
    """What is known of a server by HTTP, so that a call is one request: how it is spoken to, and its tools."""

    mode: str = "auto"
    discovered: types.DiscoverResult | None = None
    tools: tuple[types.Tool, ...] = ()

    def learn(self, client: Client, tools: Iterable[types.Tool]) -> None:
        """Keep how a connection was agreed on, and which tools were listed there."""
        self.discovered = client.session.discover_result
        version = client.session.protocol_version
        self.mode = version if self.discovered and version else "legacy"
        # What a result is to be like is left out: the model is told it as text, and checks are compiled for each call.
        self.tools = tuple(tool.model_copy(update={"output_schema": None}) for tool in tools)

    def doubt(self) -> None:
        """Agree anew next time: the server may be another by now."""
        self.mode, self.discovered = "auto", None


@asynccontextmanager
async def by_http(
    settings: McpServerSettings, requests: Requests, tenant_id: TenantId, known: Acquaintance
) -> AsyncIterator[Client]:
    """Connect to a server by HTTP, as a tenant. Errors: as `Requests.filled`, and the SDK's."""
    headers = await requests.filled(tenant_id, settings.headers)
    async with tenant_client(requests.gateway, tenant_id, timeout_s=settings.timeout_s) as http:
        http.headers.update(headers)
        transport = streamable_http_client(settings.url, http_client=http)
        limit_s, found = settings.timeout_s, known.discovered
        try:
            async with Client(transport, read_timeout_seconds=limit_s, mode=known.mode, prior_discover=found) as client:
                # Otherwise each call would be followed by asking for the whole list.
                client.session._absorb_tool_listing(types.ListToolsResult(tools=[*known.tools]), complete=False)
                yield client
        except Exception:
            known.doubt()
            raise


class McpServers:
    """The servers of one version of an agent; close it."""

    def __init__(
        self, servers: Sequence[McpServerSettings], requests: Requests, session_of: SessionOf, hidden: Sequence[Path]
    ) -> None:
        self._servers = servers
        self._requests = requests
        self._session_of = session_of
        self._processes = {each.name: McpProcess(each, hidden) for each in servers if each.command}
        self._known = {each.name: Acquaintance() for each in servers if not each.command}

    async def tools(self) -> tuple[Tool, ...]:
        """Return the tools that the settings name. Errors: `Unavailable` for a server that does not answer, `Invalid`
        for a tool that it has not, or that cannot be used."""
        found: list[Tool] = []
        for settings in self._servers:
            listed = await self._listed(settings)
            for name in settings.tools:
                if name not in listed:
                    known = ", ".join(sorted(listed)[:30])
                    raise Invalid(f"{MCP_FILE}: the server {settings.name} has no tool {name[:64]!r}. It has: {known}.")
                found.append(self._tool(settings, listed[name]))
        return tuple(found)

    async def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            await process.close()

    def _connected(self, settings: McpServerSettings, tenant_id: TenantId) -> AbstractAsyncContextManager[Client]:
        process = self._processes.get(settings.name)
        if process:
            return _of_process(process)
        return by_http(settings, self._requests, tenant_id, self._known[settings.name])

    async def _listed(self, settings: McpServerSettings) -> dict[str, types.Tool]:
        found: dict[str, types.Tool] = {}
        with _translated(settings):
            async with self._connected(settings, CATALOGUE) as client:
                cursor: str | None = None
                for _ in range(PAGES_LIMIT):
                    page = await client.list_tools(cursor=cursor)
                    found |= {tool.name: tool for tool in page.tools}
                    cursor = page.next_cursor
                    if cursor is None:
                        break
                if known := self._known.get(settings.name):
                    known.learn(client, found.values())
        return found

    def _tool(self, settings: McpServerSettings, told: types.Tool) -> Tool:
        schema = inlined(told.input_schema, told.input_schema)
        schema = {"properties": {}, **schema}
        mine = {where: what for where, what in settings.bound.items() if where.split(".")[0] in schema["properties"]}
        for where in mine:
            schema = without(schema, where.split("."))
        bound = bound_parameters(mine)
        hints = told.annotations
        definition = ToolDefinition(
            name=f"{settings.name}_{told.name}".replace("-", "_")[:64],
            description=(told.description or told.title or told.name)[:DESCRIPTION_LIMIT_CHARACTERS],
            parameters=checked(schema),
            idempotent=bool(hints and hints.read_only_hint),
        )

        async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
            values = values_for(bound, await self._session_of(caller))
            with _translated(settings):
                async with self._connected(settings, caller.tenant_id) as client:
                    result = await client.call_tool(told.name, injected(arguments, values))
            words = _words(result)
            if result.is_error:
                raise Unavailable(words or "The tool says that it failed.")
            return words

        return Tool(definition=definition, perform=perform)


@asynccontextmanager
async def _of_process(process: McpProcess) -> AsyncIterator[Client]:
    client = await process.client()
    try:
        yield client
    except MCPError as error:
        if error.error.code in _SILENT:
            await process.drop(client)
        raise
    except (TimeoutError, OSError):
        await process.drop(client)
        raise


class _translated:
    """Turns what the SDK raises into errors with words for the model, within the server's limit of time."""

    def __init__(self, settings: McpServerSettings) -> None:
        self._name = settings.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, SubclawError) or not isinstance(error, Exception):
            return
        found = _first(error)
        if isinstance(found, SubclawError):
            raise found from None
        if isinstance(found, MCPError) and found.error.code not in _SILENT:
            raise Invalid(f"The MCP server {self._name} says: {found.error.message[:500]}") from None
        internal = f"mcp {self._name}: {type(found).__name__}"
        raise Unavailable(
            f"The MCP server {self._name} does not answer. What it did is not known.", internal=internal
        ) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _words(result: types.CallToolResult) -> str:
    """Return a result as text: its texts, and what else is there by its kind."""
    texts: list[str] = []
    for block in result.content:
        match block:
            case types.TextContent(text=text):
                texts.append(text)
            case types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
                texts.append(text)
            case _:
                texts.append(f"[{block.type}]")
    if not texts and result.structured_content is not None:
        texts.append(json.dumps(result.structured_content))
    return "\n".join(texts)
