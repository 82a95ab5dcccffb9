"""Putting a message into a room, and looking whether it is there."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from subclaw.channels.matrix.client import BrokenOff, GatewayClient, ask_json

MESSAGE = "m.room.message"
_LOOKED_AT = 100


async def put(client: GatewayClient, room: str, kind: str, content: Mapping[str, Any], transaction: str) -> str:
    """Put a message into a room, once for each transaction; return its id. Errors: those of `client.ask`."""
    answer = await ask_json(client, "PUT", f"/v3/rooms/{quote(room, safe='')}/send/{kind}/{transaction}", content)
    event_id = answer.get("event_id") if isinstance(answer, dict) else None
    if not isinstance(event_id, str):
        raise BrokenOff("the homeserver's answer was not understood")
    return event_id


async def find_put(client: GatewayClient, room: str, transaction: str) -> str | None:
    """Return the id of the message that a transaction has put into a room, if it is among the last.

    Errors: those of `client.ask`.
    """
    answer = await ask_json(client, "GET", f"/v3/rooms/{quote(room, safe='')}/messages?dir=b&limit={_LOOKED_AT}")
    chunk = answer.get("chunk") if isinstance(answer, dict) else None
    for event in chunk if isinstance(chunk, list) else ():
        unsigned = event.get("unsigned") if isinstance(event, dict) else None
        if isinstance(unsigned, dict) and unsigned.get("transaction_id") == transaction:
            return str(event.get("event_id"))
    return None
