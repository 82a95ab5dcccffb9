"""Twilio's own client library, led to a base URL of ours and, where wanted, through a unix socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from twilio.http.async_http_client import AsyncTwilioHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

TWILIO_URL = "https://api.twilio.com"
_CONNECTIONS = 20


class TwilioTransport(AsyncTwilioHttpClient):  # type: ignore[misc]
    """Twilio's asynchronous HTTP client on a session of ours: other base URL, bounded times, unix socket."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        super().__init__(pool_connections=False)
        self.session = session
        self._base_url = base_url.rstrip("/")

    async def request(
        self,
        method: str,
        url: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        allow_redirects: bool = False,
    ) -> Response:
        """Make a request as the library wants it; the session's time limits hold, and redirects are not followed."""
        if not url.startswith(f"{TWILIO_URL}/"):
            raise ValueError("not an address of Twilio's REST API")
        # The library would hand the credentials to aiohttp in a way that is deprecated there.
        headers = dict(headers or {})
        if auth is not None:
            headers["Authorization"] = aiohttp.encode_basic_auth(*auth)
        return await super().request(
            method, self._base_url + url.removeprefix(TWILIO_URL), params=params, data=data, headers=headers
        )


@asynccontextmanager
async def twilio_client(
    *,
    account_sid: str,
    auth_token: str,
    base_url: str = TWILIO_URL,
    socket: Path | None = None,
    connect_timeout_s: float = 10.0,
    timeout_s: float = 30.0,
) -> AsyncIterator[Any]:
    """Give Twilio's `Client` (untyped) for as long as the context lasts.

    Through the egress gateway, `socket` is the gateway's, `base_url` is `http://egress/twilio`, and `auth_token` is a
    placeholder that the gateway replaces.
    """
    # A connection each: one that had died in a pool would leave it unknown whether a message went out.
    connector = _connector(socket)
    limits = aiohttp.ClientTimeout(total=timeout_s, connect=connect_timeout_s, sock_connect=connect_timeout_s)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, trust_env=False) as session:
        yield Client(
            account_sid,
            auth_token,
            http_client=TwilioTransport(session, base_url),
            # Without a mapping of its own, the library reads this process's environment.
            environment={"TWILIO_ACCOUNT_SID": account_sid},
        )


def _connector(socket: Path | None) -> aiohttp.BaseConnector:
    if socket is None:
        return aiohttp.TCPConnector(force_close=True, limit=_CONNECTIONS)
    return aiohttp.UnixConnector(str(socket), force_close=True, limit=_CONNECTIONS)
