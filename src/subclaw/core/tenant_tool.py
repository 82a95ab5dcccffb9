"""A tenant's own tool: what a model is told of it, and the command that it is. `tools.json` in a house lists them.

The file is the tenant's, or its agent's: what is wrong with a tool is said in words, and the others work.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from subclaw.core.errors import Invalid
from subclaw.core.house import FILE_LIMIT_BYTES
from subclaw.core.tool import ToolDefinition
from subclaw.core.tool_schema import checked_parameters

TOOLS_LIMIT = 30
DESCRIPTION_LIMIT_CHARACTERS = 500
COMMAND_LIMIT_CHARACTERS = 8_000
TIME_S = 60.0
TIME_LIMIT_S = 600.0
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, kw_only=True)
class TenantTool:
    """A tool of a tenant's. `command` is a shell command, which is given the arguments and has `timeout_s`."""

    definition: ToolDefinition
    command: str
    timeout_s: float


@dataclass(frozen=True, kw_only=True)
class ToolsRead:
    """What `tools.json` came to: the tools that can be used, and a line for the agent on each that cannot.

    `tools` is None if the file as a whole cannot be used, so that an earlier version of it serves.
    """

    tools: tuple[TenantTool, ...] | None
    problems: tuple[str, ...] = ()


def parse_tools(content: bytes, taken: Collection[str]) -> ToolsRead:
    """Read a `tools.json`. `taken` are the names of the tools that are there already, which none may have.

    It is a JSON list of objects: `name`, `description`, `parameters` (a JSON schema of an object; `input_schema` is
    another name for it), `command` and, in seconds, `timeout_s`. Other fields mean nothing.
    """
    try:
        listed = _listed(content)
    except Invalid as error:
        return ToolsRead(tools=None, problems=(f"tools.json: {error.public}.",))
    tools: list[TenantTool] = []
    problems: list[str] = []
    names = {alike(name): f"{name} is a tool already" for name in taken}
    for number, fields in enumerate(listed[:TOOLS_LIMIT], start=1):
        try:
            tool = _tool(fields)
            name = tool.definition.name
            if there := names.get(alike(name)):
                raise Invalid(f"{there}: give it another name")
        except Invalid as error:
            problems.append(f"tools.json: {_called(fields, number)} is left out: {error.public}.")
        else:
            names[alike(name)] = f"there is a tool {name} before it"
            tools.append(tool)
    if more := len(listed) - TOOLS_LIMIT:
        problems += [f"tools.json: at most {TOOLS_LIMIT} tools are used; the last {more:,} are left out."] * (more > 0)
    return ToolsRead(tools=tuple(tools), problems=tuple(problems))


def alike(name: str) -> str:
    """Return what names of tools have in common that nobody should have to tell apart: `Read-File` and `read_file`."""
    return name.lower().replace("-", "_")


def _listed(content: bytes) -> list[object]:
    if len(content) > FILE_LIMIT_BYTES:
        raise Invalid(f"it has {len(content):,} bytes; at most {FILE_LIMIT_BYTES:,} are read")
    try:
        listed = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise Invalid("it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise Invalid(f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # a number of thousands of digits
        raise Invalid("it has a number that is too long") from error
    except RecursionError as error:
        raise Invalid("it is nested too deeply") from error
    if not isinstance(listed, list):
        raise Invalid("it must be a list of tools, as [{…}, {…}]; [] for none")
    return listed


def _refuse(constant: str) -> NoReturn:
    raise Invalid(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise Invalid("it has a number that is too large")
    return number


def _called(fields: object, number: int) -> str:
    name = fields.get("name") if isinstance(fields, dict) else None
    return f"the tool {name[:64]!a}" if isinstance(name, str) and name else f"tool number {number}"


def _tool(fields: object) -> TenantTool:
    if not isinstance(fields, dict):
        raise Invalid("it must be an object")
    name = _text(fields, "name", 64)
    if not NAME.fullmatch(name):
        raise Invalid("a name has 1 to 64 letters, digits, _ and -, and begins with a letter")
    timeout_s = fields.get("timeout_s", TIME_S)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 1 <= timeout_s <= TIME_LIMIT_S:
        raise Invalid(f"timeout_s must be a number from 1 to {TIME_LIMIT_S:.0f}")
    return TenantTool(
        definition=ToolDefinition(
            name=name,
            description=_text(fields, "description", DESCRIPTION_LIMIT_CHARACTERS),
            parameters=checked_parameters(fields.get("parameters", fields.get("input_schema", NO_ARGUMENTS))),
            idempotent=False,
        ),
        command=_text(fields, "command", COMMAND_LIMIT_CHARACTERS),
        timeout_s=float(timeout_s),
    )


def _text(fields: Mapping[str, object], key: str, limit_characters: int) -> str:
    text = fields.get(key)
    if not isinstance(text, str) or not text.strip():
        raise Invalid(f"its {key} is missing")
    if len(text) > limit_characters:
        raise Invalid(f"its {key} has {len(text):,} characters; at most {limit_characters:,} are taken")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid(f"its {key} has a NUL or half a character in it")
    return text
