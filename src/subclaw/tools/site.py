"""The tool that puts the tenant's website live."""

from collections.abc import Mapping
from typing import Any

from subclaw.core.machine import SITE, Machines
from subclaw.core.route import Publisher
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.tools.toolbox import Tool

SITE_LIMIT_BYTES = 64 * 1024 * 1024


def site_tools(machines: Machines, publisher: Publisher) -> tuple[Tool, ...]:
    """Return the tool `publish_site`."""

    async def publish_site(caller: Caller, arguments: Mapping[str, Any]) -> str:
        if port := arguments.get("port"):
            published = await publisher.publish_port(caller.tenant_id, port)
            return f"Live at {published.url}, served by port {port} of your machine, which wakes for visitors."
        tar = machines.archive(caller.tenant_id, arguments.get("folder", SITE), limit_bytes=SITE_LIMIT_BYTES)
        published = await publisher.publish_folder(caller.tenant_id, tar)
        return f"Live at {published.url}: {published.files} files, {published.size_bytes:,} bytes."

    return (Tool(definition=_PUBLISH_SITE, perform=publish_site),)


_PUBLISH_SITE = ToolDefinition(
    name="publish_site",
    description=("Put your website live: a folder with index.html, which needs no machine, or a port of your machine."),
    parameters={
        "type": "object",
        "properties": {
            "folder": {"type": "string", "minLength": 1, "maxLength": 4096},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        },
        "additionalProperties": False,
    },
    idempotent=True,
)
