"""Matrix' client-server API by matrix-nio. Every call goes through the gateway, which has the access token.

Facts: https://spec.matrix.org/v1.16/client-server-api/.
"""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from nio import AsyncClient, AsyncClientConfig, ErrorResponse, Response  # type: ignore[import-untyped]

from subclaw.channels.downloads import gathered
from subclaw.channels.matrix.settings import UPSTREAM
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.secret import PLACEHOLDER
from subclaw.egress.control.client import BASE_URL
from subclaw.egress.refusal import UNSENT_HEADER

CALL_LIMIT_S = 30.0
UPLOAD_LIMIT_S = 120.0
ANSWER_LIMIT_BYTES = 64_000_000
_CONNECTIONS = 20
_CHUNK_BYTES = 65_536
_CONFIG = AsyncClientConfig(
    max_limit_exceeded=0,  # it is our outbox that waits, and tries again
    max_timeouts=0,
    request_timeout=CALL_LIMIT_S,
    encryption_enabled=False,  # a device has a store of its own kind; see `device`
    store=None,
)

Flush = Callable[[], Awaitable[None]]
Answer = TypeVar("Answer", bound=Response)


class NotSent(Exception):
    """The call certainly did not reach the homeserver; the message says why."""


class BrokenOff(Exception):
    """Nobody can tell whether the homeserver did what it was asked."""


class RefusedByServer(Exception):
    """The homeserver refused: `code` is Matrix' (`M_FORBIDDEN`), or empty; `status` is HTTP's."""

    def __init__(self, *, code: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(f"the homeserver refuses ({code or 'no code'}, HTTP {status})")
        self.code = code
        self.status = status
        self.retry_after_s = retry_after_s


class GatewayClient(AsyncClient):  # type: ignore[misc]
    """nio's client on a session of ours. `flush` is awaited before each call: what is told must not be forgotten."""

    def __init__(self, session: aiohttp.ClientSession, user: str, device: str = "", flush: Flush | None = None) -> None:
        super().__init__(f"{BASE_URL}/{UPSTREAM}", user, device, config=_CONFIG, ssl=True)
        self.user_id = user
        self.access_token = PLACEHOLDER
        self.client_session = session
        self._flush = flush

    async def send(self, *arguments: Any, **named: Any) -> aiohttp.ClientResponse:
        """Make a call, as nio wants it. Errors: `NotSent`, `BrokenOff`."""
        if self._flush:
            await self._flush()
        try:
            answer: aiohttp.ClientResponse = await super().send(*arguments, **named)
        except aiohttp.ClientConnectorError:
            raise NotSent("the egress gateway does not run") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BrokenOff(f"the connection to the homeserver broke off ({type(error).__name__})") from None
        if UNSENT_HEADER in answer.headers:
            answer.release()
            raise NotSent(f"no connection to the homeserver (HTTP {answer.status})")
        return answer


async def ask(call: Awaitable[Any], kind: type[Answer]) -> Answer:
    """Await a call of nio's. Errors: `NotSent`, `BrokenOff`, `RefusedByServer`."""
    try:
        answer = await call
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise BrokenOff(f"the homeserver's answer was not understood ({type(error).__name__})") from None
    if isinstance(answer, kind):
        return answer
    raise _refusal(answer)


async def ask_json(
    client: GatewayClient,
    method: str,
    path: str,
    given: Mapping[str, Any] | None = None,
    *,
    limit_s: float = CALL_LIMIT_S,
) -> Any:
    """Make a call and return its JSON; `path` follows `/_matrix/client`. Errors: as `ask`.

    It is for what nio has no method for, and for answers with things in them that other people's servers have made.
    """
    headers = {"Authorization": f"Bearer {PLACEHOLDER}", "Content-Type": "application/json"}
    data = None if given is None else json.dumps(given)
    return await _answered(await client.send(method, f"/_matrix/client{path}", data, headers, timeout=limit_s))


async def _answered(answer: aiohttp.ClientResponse) -> Any:
    try:
        async with answer:
            body = json.loads(await _read(answer))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
        raise BrokenOff(f"the homeserver's answer was not understood ({type(error).__name__})") from None
    if answer.status < 300:
        return body
    found = body if isinstance(body, dict) else {}
    code = found["errcode"] if isinstance(found.get("errcode"), str) else ""
    raise RefusedByServer(code=code, status=answer.status, retry_after_s=_seconds(found.get("retry_after_ms")))


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    try:
        return await gathered(answer.content.iter_chunked(_CHUNK_BYTES), ANSWER_LIMIT_BYTES)
    except Invalid:
        raise RefusedByServer(code="the answer is too long", status=413) from None


def _refusal(answer: object) -> Exception:
    transport = getattr(answer, "transport_response", None)
    status = transport.status if transport is not None else 0
    if not isinstance(answer, ErrorResponse) or 200 <= status < 300:
        return BrokenOff("the homeserver's answer was not understood")
    code = answer.status_code if isinstance(answer.status_code, str) else ""
    return RefusedByServer(code=code, status=status, retry_after_s=_seconds(answer.retry_after_ms))


def _seconds(after_ms: object) -> float | None:
    return after_ms / 1000 if isinstance(after_ms, int) and after_ms >= 0 else None


async def upload(client: GatewayClient, content: bytes, media_type: str, name: str) -> str:
    """Give the homeserver a file; return its address (`mxc://…`). Errors: as `ask`."""
    headers = {"Authorization": f"Bearer {PLACEHOLDER}", "Content-Type": media_type or "application/octet-stream"}
    path = f"/_matrix/media/v3/upload?filename={quote(name, safe='')}"
    answer = await _answered(await client.send("POST", path, content, headers, timeout=UPLOAD_LIMIT_S))
    if not isinstance(address := answer.get("content_uri"), str):
        raise BrokenOff("the homeserver's answer was not understood")
    return address


async def download(client: GatewayClient, server: str, media_id: str, limit_bytes: int) -> bytes:
    """Return a file. Errors: `Invalid` if it is larger, `NotFound`, `Unavailable`."""
    path = f"/_matrix/client/v1/media/download/{quote(server, safe=':')}/{quote(media_id, safe='')}"
    try:
        answer = await client.send("GET", path, None, {"Authorization": f"Bearer {PLACEHOLDER}"})
        async with answer:
            if answer.status in (403, 404, 410):
                raise NotFound("Matrix does not have it any more.", internal=f"media: {answer.status}")
            if answer.status != 200:
                raise Unavailable("Matrix did not give it.", internal=f"media: {answer.status}")
            return await gathered(answer.content.iter_chunked(_CHUNK_BYTES), limit_bytes)
    except (NotSent, BrokenOff, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable("Matrix cannot be reached.", internal=str(error)) from None


@asynccontextmanager
async def matrix_session(gateway_socket: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a session of HTTP for the life of the block."""
    logging.getLogger("nio").setLevel(logging.CRITICAL)  # below this level it writes who writes to whom, and what
    connector = aiohttp.UnixConnector(str(gateway_socket), force_close=True, limit=_CONNECTIONS)
    limits = aiohttp.ClientTimeout(total=CALL_LIMIT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=limits, trust_env=False) as session:
        yield session
