"""Twilio's own client library, led to a base URL of ours and, where wanted, through a unix socket."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from subclaw.egress.refusal import UNSENT_HEADER

TWILIO_URL = "https://api.twilio.com"
_CONNECTIONS = 20
_ANSWER_LIMIT_BYTES = 1_000_000
_CHUNK_BYTES = 65_536


class TooManyRequests(Exception):
    """Twilio answered 429: `code` is its error's, `retry_after_s` how long it asks to wait. The library drops both."""

    def __init__(self, *, code: int | None, retry_after_s: float | None) -> None:
        super().__init__("Twilio asks to slow down")
        self.code = code
        self.retry_after_s = retry_after_s


class Unsent(Exception):
    """The gateway could not reach Twilio, which was sent nothing."""


class TwilioTransport(AsyncHttpClient):  # type: ignore[misc]
    """The HTTP side of Twilio's client on an aiohttp session of ours: base URL, time limits and socket are its own.

    The library's `AsyncTwilioHttpClient` does not fit: it makes its own session, switches its time limits off,
    and hands credentials on in a way that aiohttp has deprecated.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        super().__init__(logging.getLogger(__name__), True)
        self._session = session
        self._base_url = base_url.rstrip("/")

    async def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        allow_redirects: bool = False,
    ) -> Response:
        """Make a request as the library wants it, within the session's time limits; redirects are not followed."""
        if not uri.startswith(f"{TWILIO_URL}/"):
            raise ValueError("not an address of Twilio's REST API")
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = aiohttp.encode_basic_auth(*auth)
        async with self._session.request(
            method,
            self._base_url + uri.removeprefix(TWILIO_URL),
            params=cast("Mapping[str, str] | None", params),
            data=data,
            headers=sent,
            allow_redirects=False,
        ) as response:
            text = await _read(response)
            if UNSENT_HEADER in response.headers:
                raise Unsent
            if response.status == 429:
                raise TooManyRequests(
                    code=_error_code(text), retry_after_s=_seconds(response.headers.get("Retry-After", ""))
                )
            return Response(response.status, text, response.headers)


def _error_code(text: str) -> int | None:
    try:
        code = json.loads(text)["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if isinstance(code, int) else None


def _seconds(text: str) -> float | None:
    """Parse a Retry-After that is a number of seconds, as Twilio's are."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


async def _read(response: aiohttp.ClientResponse) -> str:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > _ANSWER_LIMIT_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too long")
    return body.decode("utf-8")


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
