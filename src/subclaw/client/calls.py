"""Calls over HTTP: refused in words, repeated where that is safe, and streams."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from subclaw.client.errors import ApiError, Unreachable

TRIES = 4
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
WAIT_LIMIT_S = 60.0
"""Longest wait that the API may ask for; of more, its caller is told."""
_PASSING = (429, 503)


class Calls:
    """The connections to one API, with a key. A POST has an Idempotency-Key, so that it can be sent again."""

    def __init__(self, url: str, key: str, *, timeout_s: float, transport: httpx2.AsyncBaseTransport | None) -> None:
        self._client = httpx2.AsyncClient(
            base_url=f"{url.rstrip('/')}/v1/",
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(timeout_s),
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Make a call, again if it may pass; return the answer's JSON, None if it has none.

        Raises: `ApiError`, `Unreachable`.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        for pause_s in PAUSES_S[: TRIES - 1]:
            try:
                return await self._call_once(method, path, body, query, headers)
            except Unreachable:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            except ApiError as error:
                if error.status not in _PASSING or error.retry_after_s > WAIT_LIMIT_S:
                    raise
                await asyncio.sleep(max(error.retry_after_s, pause_s))
        return await self._call_once(method, path, body, query, headers)

    async def _call_once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> Any:
        wanted = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = await self._client.request(method, path, json=body, params=wanted, headers=dict(headers))
        except httpx2.HTTPError as error:
            raise Unreachable(f"The API cannot be reached ({type(error).__name__}).") from error
        if response.is_error:
            raise error_of(response)
        return response.json() if response.content else None

    @asynccontextmanager
    async def stream(
        self, path: str, *, accept: str, last_event_id: int | None = None
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Open a stream, and give its lines. Raises: `ApiError`, `Unreachable`."""
        headers = {"Accept": accept} | ({"Last-Event-ID": str(last_event_id)} if last_event_id is not None else {})
        async with self._opened(path, headers) as response:
            yield response.aiter_lines()

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a download, and give its pieces. Raises: `ApiError`, `Unreachable`."""
        async with self._opened(path, {}) as response:
            yield response.aiter_bytes()

    @asynccontextmanager
    async def _opened(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        timeout = httpx2.Timeout(30.0, read=60.0)  # there is a sign of life each quarter of a minute
        try:
            async with self._client.stream("GET", path, headers=dict(headers), timeout=timeout) as response:
                if response.is_error:
                    await response.aread()
                    raise error_of(response)
                yield response
        except httpx2.HTTPError as error:
            raise Unreachable(f"The stream broke off ({type(error).__name__}).") from error


def error_of(response: httpx2.Response) -> ApiError:
    """Return what a response says went wrong."""
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase or "no reason was given"
    after = response.headers.get("retry-after", "")
    return ApiError(response.status_code, detail, retry_after_s=float(after) if after.isdecimal() else 0.0)
