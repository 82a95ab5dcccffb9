"""Putting a message into a room."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from subclaw.channels.matrix.client import BrokenOff, GatewayClient, ask_json

MESSAGE = "m.room.message"


async def put(client: GatewayClient, room: str, kind: str, content: Mapping[str, Any], transaction: str) -> str:
    """Put a message into a room, once for each transaction; return its id. Errors: those of `client.ask`."""
    answer = await ask_json(client, "PUT", f"/v3/rooms/{quote(room, safe='')}/send/{kind}/{transaction}", content)
    event_id = answer.get("event_id") if isinstance(answer, dict) else None
    if not isinstance(event_id, str):
        raise BrokenOff("the homeserver's answer was not understood")
    return event_id
