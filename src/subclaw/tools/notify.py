"""The tools that reach a person beside the reply: by what channels, and with what."""

from collections.abc import Mapping
from typing import Any

from subclaw.core.errors import Invalid
from subclaw.core.message import clean_text
from subclaw.core.notification import TEXT_LIMIT_CHARACTERS, Notifications, Way, choose_way, describe_ways, name_of
from subclaw.core.outgoing import FilesTaken, TakesFiles, linked_files, sent_files, without_links
from subclaw.core.quiet import QuietHours, describe_quiet
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.tools.toolbox import Tool


def notify_tools(
    notifications: Notifications, outgoing: TakesFiles | None = None, quiet: QuietHours | None = None
) -> tuple[Tool, ...]:
    """Return the tools `list_channels` and `notify_user`.

    `outgoing` takes the files that a text links to. The agent is told when it is `quiet`.
    """

    async def list_channels(caller: Caller, arguments: Mapping[str, Any]) -> str:
        lines = (describe_ways(await notifications.ways(caller)), describe_quiet(quiet))
        return "\n".join(filter(None, lines))

    async def notify_user(caller: Caller, arguments: Mapping[str, Any]) -> str:
        text = clean_text(arguments["text"])
        if len(text) > TEXT_LIMIT_CHARACTERS:
            raise Invalid(f"Not sent: that has {len(text):,} characters, and {TEXT_LIMIT_CHARACTERS:,} are the most.")
        way = choose_way(await notifications.ways(caller), arguments.get("channel"))
        wanted = linked_files(text)
        files = sent_files(text, await _take(outgoing, caller, way, wanted)) if wanted else ()
        await notifications.send(caller, way.address, without_links(text) if wanted else text, files)
        if not arguments.get("prefer"):
            return f"On its way by {name_of(way)}. Don't say it again in your reply."
        await notifications.prefer(caller.tenant_id, way.address)
        return f"On its way by {name_of(way)}, which is preferred from now on. Don't say it again in your reply."

    return (
        Tool(definition=_LIST_CHANNELS, perform=list_channels),
        Tool(definition=_NOTIFY_USER, perform=notify_user),
    )


async def _take(outgoing: TakesFiles | None, caller: Caller, way: Way, wanted: Mapping[str, str]) -> FilesTaken:
    """Take the files of a text. Errors: `Invalid`, in words for a model, if one of them cannot be sent."""
    if outgoing is None:
        raise Invalid("Not sent: files cannot be sent here. Leave out the links to them.")
    taken = await outgoing.take(caller.tenant_id, way.address, wanted)
    if missing := [f"{one.path}: {one.problem}" for one in taken.taken if one.file is None]:
        raise Invalid(f"Not sent, because it links to what cannot be sent ({'; '.join(missing)}).")
    return taken


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
