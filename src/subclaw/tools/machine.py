"""The tools that use the tenant's machine: a shell, and files."""

from collections.abc import Mapping
from typing import Any, Protocol

from subclaw.core.errors import Invalid
from subclaw.core.machine import Command, FileSlice, Machines, SearchResult
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.tools.background import list_background, start_background, stop_background
from subclaw.tools.commands import Placeholders, describe_command, fitting
from subclaw.tools.toolbox import Tool, define
from subclaw.tools.undo import keep_files

SHELL_EXEC = "shell_exec"
COMMAND_TIME_S = 60
COMMAND_TIME_LIMIT_S = 600
READ_LIMIT_BYTES = 15_000
WRITE_LIMIT_CHARACTERS = 1_000_000
SEARCH_LIMIT = 100


class Files(Protocol):
    """Tenants' files: those of their machines, and those of their houses, which wake no machine."""

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """See `core.machine.Machines.read`."""
        ...

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        """See `core.machine.Machines.write`."""
        ...


def machine_tools(machines: Machines, files: Files, placeholders: Placeholders) -> tuple[Tool, ...]:
    """Return the tools `shell_exec`, `read_file`, `write_file` and `search_files`."""

    async def shell_exec(caller: Caller, arguments: Mapping[str, Any]) -> str:
        text, stop = arguments.get("command", ""), arguments.get("stop", "")
        background = arguments.get("background", False)
        if text and stop:
            raise Invalid("Run a command or stop one, not both in one call.")
        if background and not (text or stop):
            return await list_background(machines, caller.tenant_id)
        if not (text or stop):
            raise Invalid("The command is missing.")
        await keep_files(machines, caller)
        if stop:
            return await stop_background(machines, caller.tenant_id, stop)
        variables = await placeholders(caller.tenant_id)
        if background:
            return await start_background(machines, caller.tenant_id, text, variables)
        timeout_s = arguments.get("timeout_s", COMMAND_TIME_S)
        command = Command(text=text, timeout_s=timeout_s, environment=fitting(variables))
        return describe_command(await machines.run(caller.tenant_id, command), command)

    async def read_file(caller: Caller, arguments: Mapping[str, Any]) -> str:
        path, offset = arguments["path"], arguments.get("offset_bytes", 0)
        part = await files.read(caller.tenant_id, path, offset_bytes=offset, limit_bytes=READ_LIMIT_BYTES)
        return describe_file(part)

    async def write_file(caller: Caller, arguments: Mapping[str, Any]) -> str:
        await keep_files(machines, caller)
        content = arguments["content"].encode("utf-8", "replace")
        await files.write(caller.tenant_id, arguments["path"], content)
        return f"Wrote {len(content):,} bytes."

    async def search_files(caller: Caller, arguments: Mapping[str, Any]) -> str:
        where = arguments.get("path", ".")
        return describe_search(await machines.search(caller.tenant_id, arguments["pattern"], where, limit=SEARCH_LIMIT))

    return (
        Tool(definition=_SHELL_EXEC, perform=shell_exec),
        Tool(definition=_READ_FILE, perform=read_file),
        Tool(definition=_WRITE_FILE, perform=write_file),
        Tool(definition=_SEARCH_FILES, perform=search_files),
    )


def describe_file(part: FileSlice) -> str:
    """Return a file's text, and where to go on if there is more. Errors: `Invalid` for a binary file."""
    if b"\0" in part.content:
        raise Invalid(f"That is a binary file of {part.size_bytes:,} bytes. Use shell_exec to look into it.")
    end = part.offset_bytes + len(part.content)
    more = f"\n[{part.size_bytes - end:,} bytes more; go on with offset_bytes {end}]" if end < part.size_bytes else ""
    return part.content.decode("utf-8", "replace") + more or "[the file is empty]"


def describe_search(result: SearchResult) -> str:
    """List what a search found, a line each."""
    lines = [f"{match.path}:{match.line}: {match.text}" for match in result.matches]
    return "\n".join([*lines, *(["[there is more]"] if result.more else [])]) or "[nothing found]"


_PATH = {"type": "string", "minLength": 1, "maxLength": 4096}

_SHELL_EXEC = ToolDefinition(
    name=SHELL_EXEC,
    description=(
        "Run a shell command (as root, in /home/agent). background: it goes on after your turn; without"
        " command, lists all with ids."
    ),
    parameters={
        "type": "object",
        "properties": {
            "command": {"type": "string", "maxLength": 100_000},
            "timeout_s": {"type": "number", "minimum": 1, "maximum": COMMAND_TIME_LIMIT_S, "default": COMMAND_TIME_S},
            "background": {"type": "boolean"},
            "stop": {"type": "string", "description": "id"},
        },
        "additionalProperties": False,
    },
    idempotent=False,
)
_READ_FILE = define(
    "read_file",
    "Read a text file.",
    idempotent=True,
    path=_PATH,
    offset_bytes={"type": "integer", "minimum": 0, "default": 0},
)
_WRITE_FILE = define(
    "write_file",
    "Write a whole text file; folders are made.",
    idempotent=True,
    path=_PATH,
    content={"type": "string", "maxLength": WRITE_LIMIT_CHARACTERS},
)
_SEARCH_FILES = define(
    "search_files",
    "Search files under a folder by regular expression.",
    idempotent=True,
    pattern={"type": "string", "minLength": 1, "maxLength": 1000},
    path={**_PATH, "default": "."},
)
