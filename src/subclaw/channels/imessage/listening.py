"""How messages get here: BlueBubbles is told where to call, and is asked, since it calls once and never again."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from subclaw.channels.imessage.errors import refused
from subclaw.channels.imessage.messages import created_at, parse_message
from subclaw.channels.imessage.server import BlueBubbles, BrokenOff, NotSent
from subclaw.channels.imessage.settings import SCHEME, WEBHOOK_PATH, IMessageSettings
from subclaw.channels.notices import Notices
from subclaw.core.channel import Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.egress.control.client import gateway_client, webhook_secret

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(minutes=15)
"""What was written so long ago is asked for at the start: nobody reported it here while nothing ran."""

OVERLAP = timedelta(minutes=1)
"""How far the Mac's clock and ours may be apart, and how late it may find a message."""

CALLED_S, UNCALLED_S = 30.0, 2.0
"""How often it is asked: where BlueBubbles calls us, and where it cannot."""

LISTED_LIMIT = 1_000
REMEMBERED = 5_000
EVENTS = ["new-message"]


async def keep_webhook(server: BlueBubbles, public_url: str, gateway_socket: Path) -> None:
    """Have BlueBubbles call us. Errors: `Unavailable`."""
    async with gateway_client(gateway_socket) as gateway:
        url = f"{public_url}{WEBHOOK_PATH}/{await webhook_secret(gateway, SCHEME)}"
    async with _translated():
        listed = await server.ask("GET", "/webhook")
        known = listed.data if isinstance(listed.data, list) else []
        if any(isinstance(one, dict) and one.get("url") == url for one in known):
            return
        answer = await server.ask("POST", "/webhook", {"url": url, "events": EVENTS})
    if answer.status >= 300:
        raise Unavailable(f"BlueBubbles: {refused(answer).detail}.")


async def poll(
    server: BlueBubbles, intake: Intake, notices: Notices, settings: IMessageSettings, *, every_s: float
) -> None:
    """Fetch messages and hand them in, in order, until cancelled.

    What was handed in before, here or by a webhook, is the same message to the intake. If something is not there, it is
    asked again from the same message on.
    """
    after, seen = datetime.now(UTC) - LOOK_BACK, OrderedDict[str, None]()
    while True:
        try:
            for data in await _messages_since(server, after - OVERLAP):
                guid = str(data.get("guid"))
                if guid not in seen:
                    await _take(data, intake, notices, settings.name)
                    seen[guid] = None
                after = max(after, min(created_at(data) or after, datetime.now(UTC)))
        except Unavailable as error:
            log.warning("imessage: messages were not fetched: %s", error.internal)
        while len(seen) > REMEMBERED:
            seen.popitem(last=False)
        await asyncio.sleep(every_s)


async def _messages_since(server: BlueBubbles, since: datetime) -> list[Mapping[str, Any]]:
    """Return messages, the oldest first."""
    wanted = {
        "after": int(since.timestamp() * 1000),
        "limit": LISTED_LIMIT,
        "sort": "ASC",
        "with": ["chats", "handle", "attachments"],
    }
    async with _translated():
        answer = await server.ask("POST", "/message/query", wanted)
    if answer.status != 200 or not isinstance(answer.data, list):
        raise Unavailable(f"BlueBubbles: {refused(answer).detail}.")
    return [one for one in answer.data if isinstance(one, dict)]


async def _take(data: Mapping[str, Any], intake: Intake, notices: Notices, name: str) -> None:
    message = parse_message(data, name)
    if message is None:
        return
    try:
        await intake.receive(message)
    except Invalid as error:
        await notices.say(message.sender.address, error.public)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (NotSent, BrokenOff, Invalid) as error:
        raise Unavailable("BlueBubbles cannot be reached.", internal=str(error)) from None
