"""How messages get here: a homeserver is asked what is new, by one worker of all.

The token from which it is asked next is kept when everything before it was handed in. A message that is told twice is
the same one to the intake, by its id.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from subclaw.channels.matrix import rooms
from subclaw.channels.matrix.client import BrokenOff, GatewayClient, NotSent, RefusedByServer, ask_json
from subclaw.channels.matrix.device import Device
from subclaw.channels.matrix.errors import refused
from subclaw.channels.matrix.events import (
    Said,
    is_addressed,
    is_encrypted,
    read_event,
    time_of,
    to_inbound,
    without_name,
)
from subclaw.channels.matrix.formatting import content_of
from subclaw.channels.matrix.invitations import Invitations
from subclaw.channels.matrix.saying import MESSAGE, put
from subclaw.channels.matrix.sync import Event, News, Sync, fetch_gap, sync
from subclaw.channels.matrix.unread import UNREADABLE, Unread
from subclaw.channels.notices import Notices
from subclaw.core.channel import Delivery, Intake, Trouble
from subclaw.core.errors import Conflict, Invalid, Unavailable
from subclaw.core.keeping import Keeping

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(minutes=15)
"""What was written so long ago is answered when there is no token: it is the first start."""

PAUSES_S = (0.5, 1.0, 2.0, 5.0, 15.0)
"""How long it takes until a homeserver that was not reached is asked again; the last one from there on."""

ENOUGH_KEYS = 25
ROOMS_REMEMBERED = 10_000
_SINCE, _INVITATIONS, _UNREAD = "since", "invitations", "unread"


class Listener:
    """Asks a homeserver what is new, and hands it in."""

    def __init__(self, client: GatewayClient, device: Device, intake: Intake, keeping: Keeping) -> None:
        self._client = client
        self._device = device
        self._intake = intake
        self._keeping = keeping
        self._own = client.user_id
        self._name = ""
        self._rooms: dict[str, rooms.Room] = {}
        self._notices = Notices(self._say)

    async def listen(self) -> None:
        """Listen until cancelled. Errors: `Unavailable`, if the homeserver does not accept the account."""
        kept = {name: value for name, value in (await self._keeping.read()).entries.items() if value is not None}
        since = kept.get(_SINCE, b"").decode()
        invitations = Invitations(json.loads(kept.get(_INVITATIONS, b"{}")))
        unread = Unread(json.loads(kept.get(_UNREAD, b"[]")))
        failures, is_ready = 0, False
        while True:
            try:
                if not is_ready:
                    await self._device.prepare()
                    self._name, is_ready = await self._display_name(), True
                told = await sync(self._client, self._own, since)
                await self._take(told, since, unread)
                invitations.add(told.invitations)
                await invitations.follow(self._client)
                since, failures = await self._keep(told.next, since, invitations, unread), 0
            except (NotSent, BrokenOff, RefusedByServer, Unavailable, Conflict) as error:
                pause_s = _pause_s(error, failures)
                log.warning("matrix: messages were not fetched: %s", error)
                failures += 1
                await asyncio.sleep(pause_s)

    async def _keep(self, following: str, since: str, invitations: Invitations, unread: Unread) -> str:
        """Keep where we are, once all before that is handed in. Errors: `Unavailable`."""
        entries = {_INVITATIONS: json.dumps(invitations.waiting).encode(), _UNREAD: json.dumps(unread.events).encode()}
        if following != since or unread.changed:
            await self._keeping.write({_SINCE: following.encode(), **entries})
            unread.changed = False
        return following

    async def _take(self, told: Sync, since: str, unread: Unread) -> None:
        is_first = not since
        news = [await self._whole(one, since) for one in told.news]
        sealed = [event for one in news for event in _sealed(one, self._own)]
        read: Mapping[str, Event] = {}
        is_short_of_keys = told.keys_left is not None and told.keys_left < ENOUGH_KEYS
        if told.to_device or sealed or is_short_of_keys:
            read = await self._device.take_in(told.to_device, told.keys_left, [*unread.events, *sealed])
        for event in unread.take(read):
            await self._take_event(event["room_id"], read[event["event_id"]], {}, is_first=False)
        for one in news:
            self._notice_changes(one)
            names = _names(one)
            self._name = names.get(self._own, self._name)
            for told_event in one.timeline:
                found: Event = read.get(str(told_event.get("event_id")), told_event)
                if is_encrypted(found) and found.get("sender") != self._own and not (is_first and _is_old(found)):
                    unread.add(one.room, found)
                await self._take_event(one.room, found, names, is_first=is_first)
        for event in unread.overdue():
            await self._regret(event["room_id"], str(event.get("sender")))

    async def _whole(self, news: News, since: str) -> News:
        """Return what happened in a room without a gap; in one that was joined just now, from the invitation on."""
        ours = [n for n, event in enumerate(news.timeline) if _is_about(event, self._own)]
        if ours:
            return replace(news, timeline=news.timeline[ours[0] :], gap="")
        if not news.gap or not since:
            return news
        try:
            before = await fetch_gap(self._client, news.room, news.gap, since)
        except RefusedByServer as error:
            if not _is_final(error):
                raise
            return news
        return replace(news, timeline=[*before, *news.timeline])

    def _notice_changes(self, news: News) -> None:
        """Forget what is known of a room that others have come into, or that may have changed unseen."""
        if news.gap or any("state_key" in event for event in news.timeline):
            self._rooms.pop(news.room, None)
        if news.members is not None and news.members > 2:
            self._know(news.room, rooms.Room(members=frozenset(), is_public=False, is_encrypted=False))

    def _know(self, room: str, found: rooms.Room) -> rooms.Room:
        self._rooms[room] = found
        if len(self._rooms) > ROOMS_REMEMBERED:
            self._rooms.pop(next(iter(self._rooms)))
        return found

    async def _take_event(self, room: str, event: Event, names: Mapping[str, str], *, is_first: bool) -> None:
        said = read_event(event, self._own)
        if said is None or (is_first and _is_old(event)):
            return
        try:
            is_private = await self._is_private(room, said.sender)
            if not is_private and not await self._is_for_us(room, said):
                return
        except RefusedByServer as error:
            if _is_final(error):
                return  # the account is not in the room any more, or it is none
            raise
        text = said.text if is_private else without_name(said.text, self._own, self._name)
        speaker = names.get(said.sender) or said.sender
        message = to_inbound(said, room, is_private=is_private, text=text, speaker=speaker)
        if message is None:
            return
        try:
            await self._intake.receive(message)
        except Invalid as error:
            await self._notices.say(room, error.public)

    async def _is_private(self, room: str, person: str) -> bool:
        found = self._rooms.get(room) or self._know(room, await rooms.look_at(self._client, room))
        return found.is_private_to(person, self._own)

    async def _is_for_us(self, room: str, said: Said) -> bool:
        verdict = is_addressed(said, self._own, self._name)
        if verdict is not None:
            return verdict
        path = f"/v3/rooms/{quote(room, safe='')}/event/{quote(said.answers, safe='')}"
        try:
            answered = await ask_json(self._client, "GET", path)
        except RefusedByServer:
            return False
        return isinstance(answered, dict) and answered.get("sender") == self._own

    async def _regret(self, room: str, sender: str) -> None:
        """Say that a message cannot be read: to a person who wrote in private, and not to everybody in a place."""
        try:
            if await self._is_private(room, sender):
                await self._notices.say(room, UNREADABLE)
        except (NotSent, BrokenOff, RefusedByServer) as error:
            log.warning("matrix: nobody was told that a message cannot be read: %s", error)

    async def _say(self, room: str, words: str) -> None:
        kind, content = MESSAGE, content_of(words)
        if await rooms.is_encrypted(self._client, room):
            kind, content = await self._device.encrypt(room, content)
        await put(self._client, room, kind, content, f"subclaw-notice-{secrets.token_hex(12)}")

    async def _display_name(self) -> str:
        path = f"/v3/profile/{quote(self._own, safe='')}/displayname"
        try:
            found = await ask_json(self._client, "GET", path)
        except RefusedByServer as error:
            if error.status == 404:
                return ""
            raise
        name = found.get("displayname") if isinstance(found, dict) else None
        return name if isinstance(name, str) else ""


def _pause_s(error: Exception, failures: int) -> float:
    """Return when to try again. Errors: `Unavailable`, if somebody has to look at the account first."""
    pause_s = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
    if not isinstance(error, RefusedByServer):
        return pause_s
    result = refused(error)
    if result.trouble is Trouble.ACCOUNT:
        raise Unavailable(f"Matrix: {result.detail}.", internal=str(error)) from None
    return max(pause_s, error.retry_after_s or 0.0)


def _is_final(error: RefusedByServer) -> bool:
    """Say whether a homeserver would say the same again, and no more of what it was asked about."""
    result = refused(error)
    return result.delivery is Delivery.FAILED and result.trouble is Trouble.REFUSED


def _is_old(event: Event) -> bool:
    return time_of(event) < datetime.now(UTC) - LOOK_BACK


def _sealed(news: News, own: str) -> list[dict[str, Any]]:
    """Return what others have said encrypted, each with its room."""
    return [
        {**event, "room_id": news.room} for event in news.timeline if is_encrypted(event) and event.get("sender") != own
    ]


def _is_about(event: Event, own: str) -> bool:
    """Say whether an event makes the account a member: it is invited, or has joined."""
    is_ours = event.get("type") == "m.room.member" and event.get("state_key") == own
    if not is_ours or event["content"].get("membership") not in ("invite", "join"):
        return False
    before = event.get("unsigned")
    was = before.get("prev_content") if isinstance(before, dict) else None
    return not (isinstance(was, dict) and was.get("membership") == "join")  # or only its name has changed


def _names(news: News) -> dict[str, str]:
    """Return what people are called in a room, as far as it is told."""
    found = {}
    for event in [*news.state, *news.timeline]:
        name = event["content"].get("displayname")
        if event["type"] == "m.room.member" and isinstance(name, str) and name.strip():
            found[str(event.get("state_key"))] = " ".join(name.split())
    return found
