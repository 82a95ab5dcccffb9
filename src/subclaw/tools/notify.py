"""The tools that reach a person beside the reply: by what channels, and with what."""

from collections.abc import Mapping
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.message import clean_text
from subclaw.core.notification import TEXT_LIMIT_CHARACTERS, Notifications, choose_way, describe_ways, name_of
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.tools.toolbox import Tool


def notify_tools(notifications: Notifications) -> tuple[Tool, ...]:
    """Return the tools `list_channels` and `notify_user`."""

    async def list_channels(caller: Caller, arguments: Mapping[str, Any]) -> str:
        return describe_ways(await notifications.ways(caller))

    async def notify_user(caller: Caller, arguments: Mapping[str, Any]) -> str:
        text = clean_text(arguments["text"])
        if len(text) > TEXT_LIMIT_CHARACTERS:
            raise Invalid(f"Not sent: that has {len(text):,} characters, and {TEXT_LIMIT_CHARACTERS:,} are the most.")
        way = choose_way(await notifications.ways(caller), arguments.get("channel"))
        await notifications.send(caller, way.address, text)
        if not arguments.get("prefer"):
            return f"On its way by {name_of(way)}. Don't say it again in your reply."
        await notifications.prefer(caller.tenant_id, way.address)
        return f"On its way by {name_of(way)}, which is preferred from now on. Don't say it again in your reply."

    return (
        Tool(definition=_LIST_CHANNELS, perform=list_channels),
        Tool(definition=_NOTIFY_USER, perform=notify_user),
    )


_LIST_CHANNELS = ToolDefinition(
    name="list_channels",
    description="How the person is reached.",
    parameters={"type": "object", "properties": {}},
    idempotent=True,
)

_NOTIFY_USER = ToolDefinition(
    name="notify_user",
    description="Text the person now, beside your reply. prefer: use that channel from now on.",
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "channel": {"type": "string"},
            "prefer": {"type": "boolean"},
        },
        "required": ["text"],
    },
    idempotent=True,
)
