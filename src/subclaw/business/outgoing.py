"""HTTP that tools make: as their customer's tenant, by the egress gateway, within bounds, errors in words."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from subclaw.core.errors import Denied, Exhausted, Invalid, NotFound, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.egress.control.tenant_client import tenant_client
from subclaw.egress.refusal import UNSENT_HEADER

ANSWER_LIMIT_BYTES = 1_000_000
BODY_LIMIT_BYTES = 1_000_000
REQUEST_LIMIT_S = 60.0

Placeholders = Callable[[TenantId], Awaitable[Mapping[str, str]]]
"""Gives what stands for a tenant's secrets, by their names."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))
_SECRET = re.compile(r"\{\{secret:([A-Z_][A-Z0-9_]{0,63})\}\}")


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A request of a tool's. `{{secret:NAME}}` in a header or the URL stands for a secret."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back; of a body that is too large, the beginning."""

    status: int
    headers: Mapping[str, str]
    text: str


class Requests:
    """Makes requests of tools'. `gateway` is the control plane's client of the egress gateway."""

    def __init__(self, gateway: httpx2.AsyncClient, placeholders: Placeholders) -> None:
        self.gateway = gateway
        self._placeholders = placeholders

    async def filled(self, tenant_id: TenantId, texts: Mapping[str, str]) -> dict[str, str]:
        """Put placeholders where texts name secrets. Errors: `NotFound` for a secret that there is none of."""
        if not any(_SECRET.search(text) for text in texts.values()):
            return dict(texts)
        known = await self._placeholders(tenant_id)

        def found(match: re.Match[str]) -> str:
            if match[1] not in known:
                raise NotFound(f"There is no secret {match[1]} for this customer.")
            return known[match[1]]

        return {key: _SECRET.sub(found, text) for key, text in texts.items()}

    async def make(self, caller: Caller, asked: Outgoing) -> Answer:
        """Make a request as a caller's tenant. Errors: `Invalid`, `NotFound`, `Denied`, `Exhausted`, `Unavailable`."""
        if asked.method not in _METHODS or urlsplit(asked.url).scheme not in ("http", "https"):
            raise Invalid("That is no HTTP request.")
        if len(asked.body) > BODY_LIMIT_BYTES:
            raise Invalid(f"The request has {len(asked.body):,} bytes; at most {BODY_LIMIT_BYTES:,} are sent.")
        filled = await self.filled(caller.tenant_id, {**asked.headers, ":url": asked.url})
        url = filled.pop(":url")
        async with tenant_client(self.gateway, caller.tenant_id, timeout_s=REQUEST_LIMIT_S) as client:
            try:
                async with client.stream(asked.method, url, headers=filled, content=asked.body or None) as response:
                    text = await _text(response)
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError, ValueError) as error:
                raise Invalid("That is no HTTP request.", internal=type(error).__name__) from None
            except (httpx2.HTTPError, OSError) as error:
                raise Unavailable(f"{urlsplit(url).hostname} does not answer.", internal=type(error).__name__) from None
        _require_sent(response, text)
        return Answer(status=response.status_code, headers=dict(response.headers), text=text)

    async def fetch(self, caller: Caller, message: Mapping[str, Any]) -> dict[str, Any]:
        """Make a request that a tool's process asks for; see `tool_process.Fetch`. Errors: as `make`."""
        answer = await self.make(caller, _asked(message))
        return {"status": answer.status, "headers": dict(answer.headers), "text": answer.text}


def _asked(message: Mapping[str, Any]) -> Outgoing:
    method, url, query, headers, body = (message.get(key) for key in ("method", "url", "query", "headers", "body"))
    texts = isinstance(method, str) and isinstance(url, str) and isinstance(query, dict) and isinstance(headers, dict)
    if not texts or not all(isinstance(text, str) for text in (*query.values(), *headers.values())):  # type: ignore[union-attr]
        raise Invalid("That is no HTTP request: what it consists of must be text.")
    assert isinstance(method, str)
    assert isinstance(url, str)
    assert isinstance(query, dict)
    assert isinstance(headers, dict)
    given = {name.lower() for name in headers}
    if body is None:
        content = b""
    elif isinstance(body, str):
        content = body.encode("utf-8", "replace")
    else:
        content = json.dumps(body).encode()
        headers = headers if "content-type" in given else {**headers, "content-type": "application/json"}
    if query:
        encoded = str(httpx2.QueryParams(query)).replace("%7B%7Bsecret%3A", "{{secret:").replace("%7D%7D", "}}")
        url = f"{url}{'&' if '?' in url else '?'}{encoded}"
    return Outgoing(method=method.upper(), url=url, headers=headers, body=content)


async def _text(response: httpx2.Response) -> str:
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > ANSWER_LIMIT_BYTES:
            break
    return b"".join(pieces)[:ANSWER_LIMIT_BYTES].decode("utf-8", "replace")


def _require_sent(response: httpx2.Response, text: str) -> None:
    """Raise what the gateway says if the answer is its own."""
    if UNSENT_HEADER not in response.headers:
        return
    words = text[:500]
    match response.status_code:
        case 403:
            raise Denied(words)
        case 429:
            raise Exhausted(words)
        case _:
            raise Unavailable(words)
