"""Invitations: the account joins whatever room it is invited to, within bounds."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from subclaw.channels.matrix.client import BrokenOff, GatewayClient, NotSent, RefusedByServer, ask_json

log = logging.getLogger(__name__)

WAITING_LIMIT = 1_000
AT_ONCE = 5
OF_ONE_PERSON = 20
"""How many invitations of one person are followed in an hour; others are declined."""

HOUR_S = 3_600.0
REMEMBERED = 10_000
TRIES = 8
FIRST_PAUSE_S = 5.0


class Invitations:
    """Rooms that are still to be joined: those that cannot be joined just now are tried again, later each time."""

    def __init__(self, waiting: Mapping[str, Any]) -> None:
        self._waiting = {room: str(inviter) for room, inviter in waiting.items()}
        self._tries: dict[str, tuple[int, float]] = {}
        self._followed: OrderedDict[str, deque[float]] = OrderedDict()

    @property
    def waiting(self) -> Mapping[str, str]:
        """Return the rooms, and who invites."""
        return self._waiting

    def add(self, invitations: Mapping[str, str]) -> None:
        """Take invitations, as many as there is room for."""
        for room, inviter in invitations.items():
            if len(self._waiting) < WAITING_LIMIT:
                self._waiting[room] = inviter

    async def follow(self, client: GatewayClient) -> None:
        """Join what can be joined now. Never raises for what the homeserver says."""
        now_s = asyncio.get_running_loop().time()
        due = [room for room in self._waiting if self._tries.get(room, (0, 0.0))[1] <= now_s][:AT_ONCE]
        async with asyncio.TaskGroup() as group:
            for room in due:
                group.create_task(self._answer(client, room, now_s))

    async def _answer(self, client: GatewayClient, room: str, now_s: float) -> None:
        tries = self._tries.get(room, (0, 0.0))[0]
        is_welcome = tries > 0 or self._may(self._waiting[room], now_s)
        does = "join" if is_welcome and tries < TRIES else "leave"
        try:
            await ask_json(client, "POST", f"/v3/rooms/{quote(room, safe='')}/{does}", {})
        except (NotSent, BrokenOff, RefusedByServer) as error:
            log.warning("matrix: an invitation could not be answered: %s", error)
            if does == "join":
                retry_s = error.retry_after_s if isinstance(error, RefusedByServer) else None
                self._tries[room] = (tries + 1, now_s + (retry_s or FIRST_PAUSE_S * 2**tries))
                return
        self._waiting.pop(room, None)
        self._tries.pop(room, None)

    def _may(self, inviter: str, now_s: float) -> bool:
        followed = self._followed.setdefault(inviter, deque(maxlen=OF_ONE_PERSON))
        self._followed.move_to_end(inviter)
        while len(self._followed) > REMEMBERED:
            self._followed.popitem(last=False)
        if len(followed) == OF_ONE_PERSON and followed[0] > now_s - HOUR_S:
            return False
        followed.append(now_s)
        return True
