"""BlueBubbles' REST API, by the gateway, which puts the password into every call.

Facts: https://documenter.getpostman.com/view/765844/UV5RnfwM. There is no library of BlueBubbles' own for it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from subclaw.channels.downloads import gathered
from subclaw.channels.imessage.settings import UPSTREAM
from subclaw.core.channel import OutboundFile
from subclaw.core.errors import NotFound, Unavailable
from subclaw.egress.control.client import BASE_URL, gateway_client
from subclaw.egress.refusal import UNSENT_HEADER

CALL_LIMIT_S = 50.0
"""Sending takes as long as the Mac needs to find the message among those that it has sent."""

ANSWER_LIMIT_BYTES = 16_000_000
_CONNECTIONS = 10


class NotSent(Exception):
    """The call certainly did not reach BlueBubbles; the message says why."""


class BrokenOff(Exception):
    """Nobody can tell whether BlueBubbles did what it was asked."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer: the status of HTTP, and the JSON object; empty if there is none."""

    status: int
    body: Mapping[str, Any]

    @property
    def data(self) -> Any:
        """Return what was asked for."""
        return self.body.get("data")


class BlueBubbles:
    """A BlueBubbles server."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def ask(self, method: str, path: str, given: Mapping[str, Any] | None = None) -> Answer:
        """Make a call. Errors: `NotSent`, `BrokenOff`."""
        return await self._ask(method, path, json=given)

    async def _ask(self, method: str, path: str, **body: Any) -> Answer:
        status, content = await self._call(method, path, ANSWER_LIMIT_BYTES, **body)
        try:
            told = json.loads(content)
        except (ValueError, RecursionError):
            told = None
        if status < 300 and not isinstance(told, dict):
            raise BrokenOff("BlueBubbles' answer was not understood")
        return Answer(status=status, body=told if isinstance(told, dict) else {})

    async def upload(self, path: str, given: Mapping[str, str], name: str, file: OutboundFile) -> Answer:
        """Make a call with a file, which is called `name` there. Errors: as of `ask`."""
        files = {"attachment": (name, file.content, file.media_type)}
        return await self._ask("POST", path, data={**given, "name": name}, files=files)

    async def fetch(self, path: str, limit_bytes: int) -> bytes:
        """Return a file. Errors: `Invalid` if it is larger, `NotFound`, `Unavailable`."""
        try:
            status, content = await self._call("GET", path, limit_bytes)
        except (NotSent, BrokenOff) as error:
            raise Unavailable("iMessage cannot be reached.", internal=str(error)) from None
        if status == 404:
            raise NotFound("iMessage does not have it any more.", internal="attachment: 404")
        if status != 200:
            raise Unavailable("iMessage did not give it.", internal=f"attachment: {status}")
        return content

    async def _call(self, method: str, path: str, limit_bytes: int, **body: Any) -> tuple[int, bytes]:
        url = f"{BASE_URL}/{UPSTREAM}/api/v1{path}"
        try:
            async with self._client.stream(method, url, **body) as response:
                content = await gathered(response.aiter_bytes(), limit_bytes)
        except httpx2.ConnectError:
            raise NotSent("the egress gateway does not run") from None
        except (httpx2.HTTPError, OSError):
            raise BrokenOff("the connection to BlueBubbles broke off") from None
        if UNSENT_HEADER in response.headers:
            raise NotSent(f"no connection to BlueBubbles (HTTP {response.status_code})")
        return response.status_code, content


@asynccontextmanager
async def blue_bubbles(gateway_socket: Path) -> AsyncIterator[BlueBubbles]:
    """Give the server for the life of the block."""
    async with gateway_client(gateway_socket, timeout_s=CALL_LIMIT_S, connections=_CONNECTIONS) as client:
        yield BlueBubbles(client)
