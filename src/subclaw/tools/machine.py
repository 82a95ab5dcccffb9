"""The tools that use the tenant's machine: a shell, and files."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.machine import (
    ENVIRONMENT_LIMIT,
    ENVIRONMENT_LIMIT_BYTES,
    Command,
    CommandResult,
    Ended,
    FileSlice,
    Machines,
    SearchResult,
)
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.tools.toolbox import Tool, define
from subclaw.tools.undo import keep_files

COMMAND_TIME_S = 60
COMMAND_TIME_LIMIT_S = 600
READ_LIMIT_BYTES = 15_000
WRITE_LIMIT_CHARACTERS = 1_000_000
SEARCH_LIMIT = 100

Placeholders = Callable[[TenantId], Awaitable[Mapping[str, str]]]
"""Returns what a tenant's commands have in place of secrets, by the names of environment variables."""


def machine_tools(machines: Machines, placeholders: Placeholders) -> tuple[Tool, ...]:
    """Return the tools `shell_exec`, `read_file`, `write_file` and `search_files`."""

    async def shell_exec(caller: Caller, arguments: Mapping[str, Any]) -> str:
        await keep_files(machines, caller)
        command = Command(
            text=arguments["command"],
            timeout_s=arguments.get("timeout_s", COMMAND_TIME_S),
            environment=fitting(await placeholders(caller.tenant_id)),
        )
        return describe_command(await machines.run(caller.tenant_id, command), command)

    async def read_file(caller: Caller, arguments: Mapping[str, Any]) -> str:
        path, offset = arguments["path"], arguments.get("offset_bytes", 0)
        part = await machines.read(caller.tenant_id, path, offset_bytes=offset, limit_bytes=READ_LIMIT_BYTES)
        return describe_file(part)

    async def write_file(caller: Caller, arguments: Mapping[str, Any]) -> str:
        await keep_files(machines, caller)
        content = arguments["content"].encode("utf-8", "replace")
        await machines.write(caller.tenant_id, arguments["path"], content)
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


def fitting(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a command can be given, the first by their names if they are too many."""
    fit: dict[str, str] = {}
    left_bytes = ENVIRONMENT_LIMIT_BYTES
    for name in sorted(variables):
        size_bytes = len(name) + len(variables[name])
        if size_bytes <= left_bytes and len(fit) < ENVIRONMENT_LIMIT:
            fit[name] = variables[name]
            left_bytes -= size_bytes
    return fit


def describe_command(result: CommandResult, command: Command) -> str:
    """Say what became of a command: its output first, then its end if there is more to say than success."""
    text = result.output.decode("utf-8", "replace")
    left_out = result.output_bytes - len(result.output)
    notes = [f"{left_out:,} of {result.output_bytes:,} bytes of output were left out in the middle"] if left_out else []
    if result.ended is Ended.TIMED_OUT:
        notes.append(f"ended after {command.timeout_s:g} s, because it had not finished")
    elif result.exit_status:
        notes.append(f"exit status {result.exit_status}")
    elif not text:
        notes.append("done, no output")
    return "\n".join([*([text.rstrip("\n")] if text else []), *(f"[{note}]" for note in notes)])


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

_SHELL_EXEC = define(
    "shell_exec",
    "Run a shell command on your machine (Debian, root, starts in /home/agent). Output is cut in the middle.",
    idempotent=False,
    command={"type": "string", "minLength": 1, "maxLength": 100_000},
    timeout_s={"type": "number", "minimum": 1, "maximum": COMMAND_TIME_LIMIT_S, "default": COMMAND_TIME_S},
)
_READ_FILE = define(
    "read_file",
    "Read a text file on your machine.",
    idempotent=True,
    path=_PATH,
    offset_bytes={"type": "integer", "minimum": 0, "default": 0},
)
_WRITE_FILE = define(
    "write_file",
    "Write a whole text file on your machine; folders are made.",
    idempotent=True,
    path=_PATH,
    content={"type": "string", "maxLength": WRITE_LIMIT_CHARACTERS},
)
_SEARCH_FILES = define(
    "search_files",
    "Search the contents of files under a folder by regular expression.",
    idempotent=True,
    pattern={"type": "string", "minLength": 1, "maxLength": 1000},
    path={**_PATH, "default": "."},
)
