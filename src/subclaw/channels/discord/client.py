"""discord.py, every call of which goes through the gateway: it has the token."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
from discord.http import HTTPClient, Route
from discord.state import ConnectionState

from subclaw.channels.discord.settings import UPSTREAM
from subclaw.core.secret import PLACEHOLDER
from subclaw.egress.control.client import BASE_URL

CALL_LIMIT_S = 45.0
WAIT_LIMIT_S = 30.0
"""How long a call waits for Discord's limits to let it pass; one that would have to wait longer fails at once."""

CONNECTIONS = 20
NOT_UNDERSTOOD = (TypeError, KeyError, ValueError, AttributeError)
"""What discord.py raises of an answer that is none of Discord's."""


discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # else it warns that nobody can be spoken with


class DiscordClient(discord.Client):
    """discord.py's client; `async with` opens and closes it. Nothing is asked of Discord before `log_in`."""

    def __init__(self, gateway_socket: Path, intents: discord.Intents | None = None) -> None:
        self._gateway_socket = gateway_socket
        self._logging_in = asyncio.Lock()
        self._logged_in = False
        super().__init__(
            intents=intents or discord.Intents(guilds=True),  # without, it warns; nobody connects by this one
            allowed_mentions=discord.AllowedMentions.none(),  # nobody is called by what an agent says
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            max_messages=None,
        )

    def _get_state(self, **options: Any) -> ConnectionState[Any]:
        """Put the gateway's calls in the place of discord.py's, before anything is made that holds them."""
        self.http = _Calls(asyncio.get_running_loop(), self._connector(), trace=_trace())
        return super()._get_state(**options)

    async def log_in(self) -> None:
        """Have Discord tell who the bot is, once. Errors: as a call of discord.py's."""
        async with self._logging_in:
            if self._logged_in:
                return
            try:
                await self.login(PLACEHOLDER)
            except BaseException as error:
                await self.http.close()
                self.http.connector = self._connector()
                if isinstance(error, NOT_UNDERSTOOD):
                    raise discord.InvalidData("that is not Discord's answer") from None
                raise
            self._logged_in = True

    def _connector(self) -> aiohttp.BaseConnector:
        # A connection each: one that had died in a pool would leave it unknown whether a message went out.
        return aiohttp.UnixConnector(str(self._gateway_socket), force_close=True, limit=CONNECTIONS)


class _Calls(HTTPClient):
    """discord.py's calls, sent to the gateway instead of Discord."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connector: aiohttp.BaseConnector, *, trace: aiohttp.TraceConfig
    ) -> None:
        super().__init__(loop, connector, http_trace=trace, max_ratelimit_timeout=WAIT_LIMIT_S)

    async def request(self, route: Route, **given: Any) -> Any:
        """Make a call. Errors: discord.py's, and aiohttp's."""
        route.url = f"{BASE_URL}/{UPSTREAM}{route.url.removeprefix(Route.BASE)}"
        return await super().request(route, allow_redirects=False, **given)


def _trace() -> aiohttp.TraceConfig:
    """Return what keeps discord.py from making a call a second time by itself: the outbox knows when that is right."""
    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(_refuse)
    return trace


async def _refuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, answered: aiohttp.TraceRequestEndParams
) -> None:
    response = answered.response
    if response.status == 429:
        response.close()
        raise discord.RateLimited(_seconds(response.headers.get("Retry-After", "")))
    if response.status >= 500:
        response.close()
        raise discord.DiscordServerError(response, None)


def _seconds(given: str) -> float:
    try:
        return min(max(float(given), 0.1), 3_600.0)
    except ValueError:
        return WAIT_LIMIT_S
