"""WhatsApp's Cloud API by pywa, whose every call goes through the gateway: it has the access token."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from pywa_async.client import WhatsApp

from subclaw.channels.whatsapp.settings import UPSTREAM, WhatsAppSettings
from subclaw.core.secret import PLACEHOLDER
from subclaw.egress.control.client import BASE_URL
from subclaw.egress.refusal import UNSENT_HEADER

GRAPH_VERSION = "26.0"
CALL_LIMIT_S = 30.0
ANSWER_LIMIT_BYTES = 1_000_000
_CONNECTIONS = 20


class GatewayTransport(httpx.AsyncBaseTransport):
    """pywa's way to the gateway. pywa takes a client of httpx, and the gateway's own is one of httpx2.

    What the gateway could not pass on is a connection that was not made (`httpx.ConnectError`). Answers of WhatsApp's
    API are bounded; files are by whoever reads them.
    """

    def __init__(self, socket: Path) -> None:
        # A connection each: one that had died in a pool would leave it unknown whether a message went out.
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(uds=str(socket), limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`."""
        response = await self._inner.handle_async_request(request)
        if UNSENT_HEADER in response.headers:
            await response.aclose()
            raise httpx.ConnectError(f"no connection to WhatsApp (HTTP {response.status_code})", request=request)
        if request.url.path.startswith(f"/{UPSTREAM}/"):
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for piece in self._inner:
            size_bytes += len(piece)
            if size_bytes > ANSWER_LIMIT_BYTES:
                raise httpx.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def whatsapp_client(gateway_socket: Path, settings: WhatsAppSettings) -> AsyncIterator[WhatsApp]:
    """Give pywa's client for the life of the block."""
    for name in ("pywa", "pywa_async"):  # below this level they write what people say
        logging.getLogger(name).setLevel(logging.ERROR)
    transport = GatewayTransport(gateway_socket)
    async with httpx.AsyncClient(transport=transport, timeout=CALL_LIMIT_S, trust_env=False) as session:
        client = WhatsApp(settings.phone_number_id, PLACEHOLDER, session=session, api_version=float(GRAPH_VERSION))
        session.base_url = httpx.URL(f"{BASE_URL}/{UPSTREAM}/v{GRAPH_VERSION}/")  # pywa sets its own
        yield client
