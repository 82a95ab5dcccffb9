"""Slack's own client library, every call of which goes through the gateway: it has the token."""

import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient
from yarl import URL

from subclaw.channels.downloads import gathered
from subclaw.channels.slack.settings import FILES_UPSTREAM, UPLOADS_PATH, UPLOADS_UPSTREAM, UPSTREAM
from subclaw.core.errors import NotFound, Unavailable
from subclaw.core.secret import PLACEHOLDER
from subclaw.egress.control.client import BASE_URL
from subclaw.egress.refusal import UNSENT_HEADER

CALL_LIMIT_S = 30.0
CONNECT_LIMIT_S = 10.0
FILE_LIMIT_S = 120.0
ANSWER_LIMIT_BYTES = 8_000_000
_CONNECTIONS = 20
_CHUNK_BYTES = 65_536
_UPLOAD = re.compile(rf"{UPLOADS_PATH}((?:/[A-Za-z0-9_~%-][A-Za-z0-9._~%-]*)+)")


class NotSent(Exception):
    """A call did not reach Slack."""


class SlackClient(AsyncWebClient):
    """Slack's client on an aiohttp session of ours: time limits, the length of answers and the socket are its own.

    The library's own way of making a request makes some of them a second time, which would double a message, writes
    what is sent to its log, and goes by the proxies of the environment.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(token=PLACEHOLDER, base_url=f"{BASE_URL}/{UPSTREAM}/", session=session, retry_handlers=[])
        self._session = session

    async def _request(self, *, http_verb: str, api_url: str, req_args: Mapping[str, Any]) -> dict[str, Any]:
        """Make a request as the library wants it; redirects are not followed. Errors: `NotSent`, aiohttp's."""
        sent = {name: req_args[name] for name in ("headers", "params", "data", "json") if req_args.get(name)}
        async with self._session.request(http_verb, api_url, allow_redirects=False, **sent) as response:
            body = await _read(response, ANSWER_LIMIT_BYTES)
            if UNSENT_HEADER in response.headers:
                raise NotSent(f"no connection to Slack (HTTP {response.status})")
            return {"data": _object(body), "headers": response.headers, "status_code": response.status}

    async def download(self, path: str, limit_bytes: int) -> bytes:
        """Return a file of Slack's.

        Errors: `Invalid` if it is larger, `NotFound` if it is gone, `Unavailable`.
        """
        url = URL(f"{BASE_URL}/{FILES_UPSTREAM}{path}", encoded=True)
        limits = aiohttp.ClientTimeout(total=FILE_LIMIT_S, connect=CONNECT_LIMIT_S, sock_connect=CONNECT_LIMIT_S)
        headers = {"Authorization": f"Bearer {PLACEHOLDER}"}
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False, timeout=limits) as response:
                if response.status in (404, 410):
                    raise NotFound("Slack does not have it any more.", internal=f"file: {response.status}")
                # Whoever may not read a file is led to the page where people sign in, or given it at once.
                is_page = response.content_type == "text/html" and "Content-Disposition" not in response.headers
                if response.status != 200 or is_page:
                    raise Unavailable("Slack did not give it.", internal=f"file: {response.status} (has files:read?)")
                return await _read(response, limit_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("Slack cannot be reached.", internal=type(error).__name__) from None

    async def upload(self, url: str, content: bytes) -> None:
        """Bring a file to the address that Slack gave for it: its path counts, at the host that the operator says.

        Nobody sees it until `files.completeUploadExternal`. Errors: `NotSent` if Slack does not have it; aiohttp's.
        """
        parts = urlsplit(url)
        found = _UPLOAD.fullmatch(parts.path)
        if not found:
            raise NotSent("Slack gave no address for the file")
        target = f"{BASE_URL}/{UPLOADS_UPSTREAM}{found[1]}{f'?{parts.query}' if parts.query else ''}"
        headers = {"Content-Type": "application/octet-stream"}
        limits = aiohttp.ClientTimeout(total=FILE_LIMIT_S, connect=CONNECT_LIMIT_S, sock_connect=CONNECT_LIMIT_S)
        async with self._session.post(
            URL(target, encoded=True), data=io.BytesIO(content), headers=headers, allow_redirects=False, timeout=limits
        ) as response:
            if response.status != 200:
                raise NotSent(f"Slack did not take the file (HTTP {response.status})")


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return the body. Errors: `Invalid` if it is longer."""
    return await gathered(response.content.iter_chunked(_CHUNK_BYTES), limit_bytes)


def _object(body: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one of what is none, which the library takes for an error."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


@asynccontextmanager
async def slack_client(gateway_socket: Path) -> AsyncIterator[SlackClient]:
    """Give Slack's client for the life of the block."""
    # A connection each: one that had died in a pool would leave it unknown whether a message went out.
    connector = aiohttp.UnixConnector(str(gateway_socket), force_close=True, limit=_CONNECTIONS)
    limits = aiohttp.ClientTimeout(total=CALL_LIMIT_S, connect=CONNECT_LIMIT_S, sock_connect=CONNECT_LIMIT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, trust_env=False) as session:
        yield SlackClient(session)
