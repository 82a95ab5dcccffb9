"""`mcp.toml` of an agent's folder: MCP servers, and which of their tools the agent has.

[servers.time]
command = ["mcp-server-time", "--local-timezone", "UTC"]
environment = { TZ = "UTC" }                  # the whole of it, but for PATH, LANG and HOME
tools = ["get_current_time"]

[servers.crm]
url = "https://crm.example.com/mcp"
headers = { Authorization = "Bearer {{secret:CRM_KEY}}" }
tools = ["find_contact"]
bound = { account_id = "ids.account" }        # from the customer's session, and no model sees it
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from subclaw.business.lines import line_of, wrong
from subclaw.business.toml import read_table, text_of

MCP_FILE = "mcp.toml"

_Words = dict[str, Annotated[str, Field(max_length=2_000)]]


class _Server(BaseModel):
    """What `[servers.NAME]` may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    command: Annotated[list[str], Field(max_length=50)] = []
    environment: _Words = {}
    url: Annotated[str, Field(max_length=2_000, pattern=r"^(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/\S*)?)?$")] = ""
    headers: _Words = {}
    tools: Annotated[list[str], Field(min_length=1, max_length=100)]
    bound: _Words = {}
    timeout_s: Annotated[int, Field(ge=1, le=300)] = 60


class _File(BaseModel):
    """What the file may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    servers: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], _Server], Field(min_length=1, max_length=20)
    ]


@dataclass(frozen=True, kw_only=True)
class McpServerSettings:
    """A server: a `command`, or a `url` with `headers`. `tools` are those of its tools that the agent has."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    headers: Mapping[str, str]
    tools: tuple[str, ...]
    bound: Mapping[str, str]
    timeout_s: float


def read_mcp(files: Mapping[str, bytes]) -> tuple[McpServerSettings, ...]:
    """Return the servers of a folder. Errors: `Invalid`, with file, line and remedy."""
    if MCP_FILE not in files:
        return ()
    text, found = text_of(files, MCP_FILE), []
    for name, row in read_table(files, MCP_FILE, _File).servers.items():
        if bool(row.command) == bool(row.url):
            line = line_of(text, ("servers", name))
            raise wrong(MCP_FILE, line, f"The server {name!r} needs a command or a url.", "Write one of the two.")
        found.append(
            McpServerSettings(
                name=name,
                command=tuple(row.command),
                environment=row.environment,
                url=row.url,
                headers=row.headers,
                tools=tuple(row.tools),
                bound=row.bound,
                timeout_s=row.timeout_s,
            )
        )
    return tuple(found)
