"""A tenant's own tools: each is a command on the tenant's machine, which is given its input in `TOOL_INPUT`.

That is JSON in base64, so that no shell ever reads what a model wrote: `echo "$TOOL_INPUT" | base64 -d | jq -r .city`,
or in Python `json.loads(base64.b64decode(os.environ["TOOL_INPUT"]))`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.machine import ENVIRONMENT_LIMIT_BYTES, Command, Machines
from subclaw.core.tenant_tool import TenantTool
from subclaw.core.tool import Caller
from subclaw.tools.commands import Placeholders, describe_command, fitting
from subclaw.tools.toolbox import Perform, Tool
from subclaw.tools.undo import keep_files

INPUT_VARIABLE = "TOOL_INPUT"
INPUT_LIMIT_BYTES = 98_000
"""Largest input, as JSON. The kernel takes 128 KiB in one variable (MAX_ARG_STRLEN in execve(2)), and base64 makes
four bytes of three."""

INPUT_FOLDER = "/run/subclaw/inputs"
GIVEN_LIMIT_BYTES = ENVIRONMENT_LIMIT_BYTES // 4
"""Largest input, in base64, that comes with the call. What is larger would leave no room for placeholders."""

READ_INPUT = f"""\
{INPUT_VARIABLE}=$(cat "${INPUT_VARIABLE}" && rm -f "${INPUT_VARIABLE}") || {{ echo "the input was lost"; exit 1; }}
"""


def tenant_tools(machines: Machines, placeholders: Placeholders, tools: Sequence[TenantTool]) -> tuple[Tool, ...]:
    """Return what a tenant's tools do: their commands run as those of `shell_exec` do, and their ends are told so."""
    return tuple(Tool(definition=tool.definition, perform=_performing(machines, placeholders, tool)) for tool in tools)


def encoded_input(arguments: Mapping[str, Any]) -> str:
    """Return arguments as `TOOL_INPUT` has them. Raises `Invalid` if they are too large, or no JSON."""
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise Invalid("The input has a number that is none.") from error
    content = text.encode("utf-8", "backslashreplace")  # of half a character it makes what JSON writes for that
    if len(content) > INPUT_LIMIT_BYTES:
        raise Invalid(
            f"The input has {len(content):,} bytes as JSON; at most {INPUT_LIMIT_BYTES:,} fit. Write what is large to a"
            " file first, and give the tool its path."
        )
    return base64.b64encode(content).decode()


def _performing(machines: Machines, placeholders: Placeholders, tool: TenantTool) -> Perform:
    async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
        value, prefix = encoded_input(arguments), ""
        variables = await placeholders(caller.tenant_id)
        await keep_files(machines, caller)
        if len(value) > GIVEN_LIMIT_BYTES:
            # More than a call may bring is read from a file, by a line before the command.
            path, content = f"{INPUT_FOLDER}/{caller.call_id}", value.encode()
            await machines.write(caller.tenant_id, path, content)
            value, prefix = path, READ_INPUT
        environment = fitting(variables, first={INPUT_VARIABLE: value})
        command = Command(text=prefix + tool.command, timeout_s=tool.timeout_s, environment=environment)
        return describe_command(await machines.run(caller.tenant_id, command), command)

    return perform
