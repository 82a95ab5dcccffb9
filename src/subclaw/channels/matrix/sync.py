"""What a homeserver has to tell since a token: asked for, and parsed strictly, since other people's servers wrote it.

Facts: https://spec.matrix.org/v1.16/client-server-api/#syncing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from subclaw.channels.matrix.client import CALL_LIMIT_S, BrokenOff, GatewayClient, ask_json
from subclaw.channels.matrix.events import is_room
from subclaw.channels.members import objects_of, text_of

WAIT_S = 25
TIMELINE_LIMIT = 100
GAP_LIMIT = 1_000
"""How many messages of one room are fetched at most, if there are more than a sync tells."""

_STATE = ["m.room.member", "m.room.join_rules", "m.room.encryption"]
_SAID = ["m.room.message", "m.room.encrypted", "m.sticker"]
_NOTHING: Mapping[str, Any] = {"types": []}
_FILTER = {
    "presence": _NOTHING,
    "account_data": _NOTHING,
    "room": {
        "account_data": _NOTHING,
        "ephemeral": _NOTHING,
        "state": {"types": _STATE, "lazy_load_members": True, "include_redundant_members": True},
        "timeline": {"types": _SAID + _STATE, "limit": TIMELINE_LIMIT, "lazy_load_members": True},
    },
}

Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class News:
    """What is new in a room: its state and what happened, in order. `gap` is a token, if there was more before that.

    `members` is how many have joined or are invited, if that is told.
    """

    room: str
    state: Sequence[Event]
    timeline: Sequence[Event]
    gap: str = ""
    members: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sync:
    """What there is to tell: `next` is the token to go on from, `invitations` are rooms and who invites.

    `to_device` is for this device alone; `keys_left` are its one-time keys that nobody has taken yet, if that is told.
    """

    next: str
    invitations: Mapping[str, str]
    news: Sequence[News]
    to_device: Sequence[Event]
    keys_left: int | None = None


async def sync(client: GatewayClient, own: str, since: str, *, wait_s: int = WAIT_S) -> Sync:
    """Ask what is new since a token, from the start if it is empty. Errors: those of `client.ask`."""
    given = {"filter": json.dumps(_FILTER, separators=(",", ":")), "set_presence": "offline"}
    given |= {"since": since, "timeout": str(wait_s * 1000)} if since else {"timeout": "0"}
    limit_s = CALL_LIMIT_S + wait_s
    return read_sync(await ask_json(client, "GET", f"/v3/sync?{urlencode(given)}", limit_s=limit_s), own)


async def fetch_gap(client: GatewayClient, room: str, gap: str, since: str) -> list[Event]:
    """Return what happened in a room between two tokens, in order; the newest, if it is too much. Errors: as `sync`."""
    found: list[Event] = []
    while gap and len(found) < GAP_LIMIT:
        given = {"dir": "b", "from": gap, "to": since, "limit": TIMELINE_LIMIT, "filter": json.dumps({"types": _SAID})}
        path = f"/v3/rooms/{quote(room, safe='')}/messages?{urlencode(given)}"
        answer = _object(await ask_json(client, "GET", path))
        chunk = _events(answer, "chunk")
        found += chunk
        gap = text_of(answer, "end") if chunk else ""
    return found[::-1]


def read_sync(answer: object, own: str) -> Sync:
    """Return a sync's answer. Errors: `BrokenOff` if it is none."""
    given = _object(answer)
    rooms = _object(given.get("rooms"))
    if not text_of(given, "next_batch"):
        raise BrokenOff("the homeserver's answer was not understood")
    counts = given.get("device_one_time_keys_count")
    keys_left = _object(counts).get("signed_curve25519", 0) if isinstance(counts, dict) else None
    return Sync(
        next=text_of(given, "next_batch"),
        invitations={room: _inviter(invited, own) for room, invited in _rooms(rooms, "invite")},
        news=[_news(room, joined) for room, joined in _rooms(rooms, "join")],
        to_device=_events(_object(given.get("to_device")), "events"),
        keys_left=keys_left if isinstance(keys_left, int) else None,
    )


def _news(room: str, joined: Mapping[str, Any]) -> News:
    timeline, summary = _object(joined.get("timeline")), _object(joined.get("summary"))
    counted = (summary.get("m.joined_member_count"), summary.get("m.invited_member_count"))
    counts = [one for one in counted if isinstance(one, int)]
    return News(
        room=room,
        state=_events(_object(joined.get("state")), "events"),
        timeline=_events(timeline, "events"),
        gap=text_of(timeline, "prev_batch") if timeline.get("limited") is True else "",
        members=sum(counts) if len(counts) == len(counted) else None,
    )


def _inviter(invited: Mapping[str, Any], own: str) -> str:
    for event in _events(_object(invited.get("invite_state")), "events"):
        if event.get("type") == "m.room.member" and event.get("state_key") == own:
            return text_of(event, "sender")
    return ""


def _rooms(rooms: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for room, found in _object(rooms.get(name)).items():
        if is_room(room):
            yield room, _object(found)


def _events(given: Mapping[str, Any], name: str) -> list[Event]:
    return [
        one
        for one in objects_of(given, name)
        if isinstance(one.get("content"), dict) and isinstance(one.get("type"), str)
    ]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
