"""The Gateway, by which Discord tells what was said: one WebSocket, and a session that is resumed when it breaks.

Facts: https://discord.com/developers/docs/events/gateway. The token is in a message of the client's, and our gateway
puts it there. Nothing is asked for compressed, so that our gateway can see what comes back.
"""

import asyncio
import logging
import random
from pathlib import Path
from typing import Any

import aiohttp
import discord
from discord.gateway import DiscordWebSocket, ReconnectWebSocket
from yarl import URL

from subclaw.channels.discord.client import DiscordClient
from subclaw.channels.discord.messages import is_for
from subclaw.channels.discord.settings import GATEWAY_UPSTREAM
from subclaw.core.errors import Unavailable
from subclaw.egress.control.client import BASE_URL

log = logging.getLogger(__name__)

GATEWAY = URL(f"{BASE_URL}/{GATEWAY_UPSTREAM}/")
HELLO_LIMIT_S = 60.0
PAUSES_S = (0.0, 1.0, 5.0, 15.0, 30.0)
"""How long it takes until a connection that broke is made anew; the last one from there on."""

STEADY_S = 60.0
"""A connection that lasted so long begins with the first pause again."""

IDENTIFY_PAUSE_S = 5.0
SESSIONS_KEPT = 50
"""How many of the sessions that Discord allows a day are never begun: if one is too many, it takes the token back."""

WAITING_LIMIT = 10_000


class SessionBegan:
    """A new session: what was said before it is told by nobody."""


Told = discord.Message | SessionBegan


class _Uncompressed(DiscordWebSocket):
    """discord.py's end of the Gateway, but that it asks for no compression."""

    async def send_as_json(self, data: Any) -> None:
        if data["op"] == self.IDENTIFY:
            data["d"]["compress"] = False
        await super().send_as_json(data)


class DiscordListener(DiscordClient):
    """discord.py's client, which is told what is said. `told` has what is for the bot, in order."""

    def __init__(self, gateway_socket: Path) -> None:
        super().__init__(gateway_socket, discord.Intents(guilds=True, guild_messages=True, dm_messages=True))
        self.told: asyncio.Queue[Told] = asyncio.Queue(WAITING_LIMIT)

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Take what discord.py makes of an event, in order and at once: its listeners would run beside each other."""
        if event == "connect":
            self._tell(SessionBegan())
        elif event == "message" and self.user and is_for(args[0], self.user.id):
            self._tell(args[0])
        super().dispatch(event, *args, **kwargs)

    def _tell(self, told: Told) -> None:
        try:
            self.told.put_nowait(told)
        except asyncio.QueueFull:
            raise Unavailable("More is said on Discord than can be taken.", internal="too many messages wait") from None

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Let it pass: whether a session may begin is asked before there is a connection."""

    async def connect(self, *, reconnect: bool = True) -> None:
        """Stay connected, until Discord says for good that it does not want it.

        discord.py's own way waits for up to a quarter of an hour, and fails where the first try does.
        Errors: `ConnectionClosed`, `PrivilegedIntentsRequired`, `Unavailable`.
        """
        loop, failures, session = asyncio.get_running_loop(), 0, dict[str, Any]()
        while True:
            began_s = loop.time()
            try:
                await self._stay(session)
            except ReconnectWebSocket as error:
                session = self._session() if error.resume else {}
                log.info("discord: to connect again (%s)", error.op)
            except (
                OSError,
                aiohttp.ClientError,
                discord.HTTPException,
                discord.RateLimited,
                discord.GatewayNotFound,
            ) as error:
                session = self._session()
                log.warning("discord: the connection failed: %s", type(error).__name__)
            failures = 1 if loop.time() - began_s > STEADY_S else failures + 1
            await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S)) - 1] * random.uniform(0.8, 1.2))

    async def _stay(self, session: dict[str, Any]) -> None:
        if not session:
            await self._may_begin()
        opening = _Uncompressed.from_client(self, gateway=GATEWAY, initial=self.ws is None, compress=False, **session)
        self.ws = await asyncio.wait_for(opening, timeout=HELLO_LIMIT_S)
        while True:
            await self.ws.poll_event()

    async def _may_begin(self) -> None:
        """Wait as Discord wants it before a new session. Errors: `Unavailable` if it allows hardly any more today."""
        _, _, limit = await self.http.get_bot_gateway()
        if limit["remaining"] <= SESSIONS_KEPT:
            hours = limit["reset_after"] / 3_600_000
            words = f"Discord allows no new session for {hours:.1f} hours."
            raise Unavailable(words, internal=words)
        if self.ws is not None:
            await asyncio.sleep(IDENTIFY_PAUSE_S)

    def _session(self) -> dict[str, Any]:
        """Return what resumes the session, if there is one."""
        if self.ws is None or self.ws.session_id is None:
            return {}
        return {"resume": True, "session": self.ws.session_id, "sequence": self.ws.sequence}
