"""Commands in the background of a tenant's machine: started in one call, looked at and stopped in others.

They go on after the turn, and where they were after the machine has slept with its memory. What is known of them is in
the machine: `background.sh`, which runs there, says how.
"""

import re
import secrets
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from subclaw.core.errors import Invalid
from subclaw.core.machine import HOME, Command, Machines
from subclaw.core.tenant import TenantId
from subclaw.tools.commands import NO_VARIABLES, describe_command, fitting

FOLDER = f"{HOME}/.background"
ID = re.compile(r"[0-9a-f]{8}")
ID_VARIABLE, LABEL_VARIABLE = "BACKGROUND_ID", "BACKGROUND_LABEL"
LABEL_CHARACTERS = 80
CALL_TIME_S = 60.0


async def start_background(
    machines: Machines, tenant_id: TenantId, text: str, variables: Mapping[str, str] = NO_VARIABLES
) -> str:
    """Start a shell command, with those of the variables that fit; tell its id and how it began. Raises `Invalid`."""
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("The command has characters that cannot be.") from error
    if b"\0" in content:
        raise Invalid("The command has a NUL in it.")
    id = secrets.token_hex(4)
    await machines.write(tenant_id, f"{FOLDER}/{id}/command", content)
    label = " ".join(text[:LABEL_CHARACTERS].split()).encode("ascii", "replace").decode()
    return await _call(machines, tenant_id, "start", fitting(variables, first={ID_VARIABLE: id, LABEL_VARIABLE: label}))


async def stop_background(machines: Machines, tenant_id: TenantId, id: str) -> str:
    """End a command with all that it started: asked first, then killed; tell how it ended. Raises `Invalid`."""
    if not ID.fullmatch(id):
        raise Invalid("An id has 8 digits and letters from a to f. To list all: background, without a command.")
    return await _call(machines, tenant_id, "stop", {ID_VARIABLE: id})


async def list_background(machines: Machines, tenant_id: TenantId) -> str:
    """Tell which commands run or have ended, the newest first, each with the last lines of what it put out."""
    return await _call(machines, tenant_id, "list")


async def _call(
    machines: Machines, tenant_id: TenantId, verb: str, environment: Mapping[str, str] = NO_VARIABLES
) -> str:
    command = Command(text=f"{_script()}\n{verb}\n", timeout_s=CALL_TIME_S, environment=environment)
    return describe_command(await machines.run(tenant_id, command), command)


@cache
def _script() -> str:
    return (files("subclaw.tools") / "background.sh").read_text(encoding="utf-8")
