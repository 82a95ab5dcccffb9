"""Rooms: who is in one, whether it is a person's private one, and whether it is encrypted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from subclaw.channels.matrix.client import BrokenOff, GatewayClient, RefusedByServer, ask_json


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room as its state says. `members` have joined, or are invited; whoever likes can join a `public` one."""

    members: frozenset[str]
    is_public: bool
    is_encrypted: bool

    def is_private_to(self, person: str, own: str) -> bool:
        """Say whether a person has it for themselves with the account."""
        return self.members == {person, own} and not self.is_public


async def look_at(client: GatewayClient, room: str) -> Room:
    """Return a room. Errors: `NotSent`, `BrokenOff`, `RefusedByServer`."""
    return read_room(await ask_json(client, "GET", f"/v3/rooms/{quote(room, safe='')}/state"))


def read_room(events: object) -> Room:
    """Return the room that these state events make. Errors: `BrokenOff` if they are none."""
    if not isinstance(events, list):
        raise BrokenOff("the homeserver's answer was not understood")
    found = [event for event in events if isinstance(event, dict) and isinstance(event.get("content"), dict)]
    return Room(
        members=frozenset(str(event.get("state_key")) for event in found if is_member(event)),
        is_public=any(_says(event, "m.room.join_rules", "join_rule", "public") for event in found),
        is_encrypted=any(event.get("type") == "m.room.encryption" for event in found),
    )


def is_member(event: Mapping[str, Any]) -> bool:
    """Say whether somebody is in a room, or is invited to it, by an event."""
    return event.get("type") == "m.room.member" and event["content"].get("membership") in ("join", "invite")


async def is_encrypted(client: GatewayClient, room: str) -> bool:
    """Say whether a room is encrypted. Errors: as `look_at`."""
    try:
        await ask_json(client, "GET", f"/v3/rooms/{quote(room, safe='')}/state/m.room.encryption/")
    except RefusedByServer as error:
        if error.code == "M_NOT_FOUND":
            return False
        raise
    return True


async def members_of(client: GatewayClient, room: str) -> frozenset[str]:
    """Return who has joined a room. Errors: as `look_at`."""
    answer = await ask_json(client, "GET", f"/v3/rooms/{quote(room, safe='')}/joined_members")
    if not isinstance(answer, dict) or not isinstance(answer.get("joined"), dict):
        raise BrokenOff("the homeserver's answer was not understood")
    return frozenset(answer["joined"])


def _says(event: Mapping[str, Any], kind: str, name: str, value: str) -> bool:
    return event.get("type") == kind and event["content"].get(name) == value
