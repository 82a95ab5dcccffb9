"""The tool that puts the tenant's website live, and what else can be done with it by words: `do`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subclaw.core.errors import Invalid, NotFound
from subclaw.core.house import FILE_LIMIT_BYTES
from subclaw.core.machine import SITE, Machines
from subclaw.core.route import Publisher
from subclaw.core.service_words import SERVICES, undeclared_words
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.tools.toolbox import Tool
from subclaw_guest.declared import parse_services

SITE_LIMIT_BYTES = 64 * 1024 * 1024
_WORDS_LIMIT_CHARACTERS = 2_000


@dataclass(frozen=True, kw_only=True)
class SiteAction:
    """Something that can be done with a site: `do` begins with its `name`, and the words after it are its own.

    `usage` tells the model how it is said and what it does. `perform` returns words, or raises a `SubclawError`.
    """

    name: str
    usage: str
    perform: Callable[[TenantId, Sequence[str]], Awaitable[str]]


def site_tools(machines: Machines, publisher: Publisher, actions: Sequence[SiteAction] = ()) -> tuple[Tool, ...]:
    """Return the tool `publish_site`."""
    by_name = {action.name: action for action in actions}

    async def publish_site(caller: Caller, arguments: Mapping[str, Any]) -> str:
        if said := arguments.get("do"):
            return await _act(by_name, caller.tenant_id, said)
        if port := arguments.get("port"):
            published = await publisher.publish_port(caller.tenant_id, port)
            live = f"Live at {published.url}, served by port {port} of your machine, which wakes for visitors."
            return live if await _is_declared(machines, caller.tenant_id, port) else live + undeclared_words(port)
        tar = machines.archive(caller.tenant_id, arguments.get("folder") or SITE, limit_bytes=SITE_LIMIT_BYTES)
        published = await publisher.publish_folder(caller.tenant_id, tar)
        return f"Live at {published.url}: {published.files} files, {published.size_bytes:,} bytes."

    return (Tool(definition=_PUBLISH_SITE, perform=publish_site),)


async def _is_declared(machines: Machines, tenant_id: TenantId, port: int) -> bool:
    try:
        file = await machines.read(tenant_id, SERVICES, offset_bytes=0, limit_bytes=FILE_LIMIT_BYTES)
    except (NotFound, Invalid):
        return False
    return any(service.port == port for service in parse_services(file.content).services or ())


async def _act(actions: Mapping[str, SiteAction], tenant_id: TenantId, said: str) -> str:
    name, *words = said[:_WORDS_LIMIT_CHARACTERS].split()[:100] or [""]
    if action := actions.get(name.lower()):
        return await action.perform(tenant_id, words)
    usages = "\n".join(f"- {action.usage}" for action in actions.values())
    if name.lower() == "help":
        return f"`do` can be:\n{usages}"
    raise Invalid(f"`do` cannot be {name[:40]!r}. It can be:\n{usages}")


_PUBLISH_SITE = ToolDefinition(
    name="publish_site",
    description="Put your website live: a folder with index.html, or a port of your machine.",
    parameters={
        "type": "object",
        "properties": {
            "folder": {"type": "string", "minLength": 1, "maxLength": 4096},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "do": {
                "type": "string",
                "maxLength": _WORDS_LIMIT_CHARACTERS,
                "description": "undo, history, domain, forms…; `help` lists it",
            },
        },
        "additionalProperties": False,
    },
    idempotent=True,
)
