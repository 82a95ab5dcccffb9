"""What carries an HTTP client's calls to the gateway: the gateway's own HTTP/1.1, from the other side.

A call costs a fraction of what it does by the client's usual transport, and meets no server but the gateway.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2

from subclaw.egress.http.link import Link, Unanswered
from subclaw.egress.http.message import Response
from subclaw.egress.http.pool import Pool
from subclaw.egress.http.wire import Wire
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal

CONNECT_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0)
"""A gateway that does not run is being started anew: tried again after these pauses."""
KEPT_S = 60.0
"""How long a connection is kept for the next call: less than the gateway keeps it."""


class GatewayTransport(httpx2.AsyncBaseTransport):
    """Connections to the gateway, as many as there are calls; some are kept for the next ones."""

    def __init__(self, socket_path: Path, *, kept: int) -> None:
        self._pool = Pool(functools.partial(_connected, socket_path), Limits(pooled=kept, pooled_s=KEPT_S))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`."""
        body = await request.aread()
        read_s: float | None = request.extensions.get("timeout", {}).get("read")
        link = self._pool.take() or await self._pool.connect()
        try:
            with _translated(request):
                async with asyncio.timeout(read_s):
                    response = await _asked(link, request, body)
        except BaseException:
            link.wire.abort()
            raise
        stream = _Body(link, self._pool, request, read_s)
        return httpx2.Response(response.status, headers=response.headers, stream=stream, request=request)

    async def aclose(self) -> None:
        """Close every connection that waits for a call."""
        self._pool.close()


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, read as it comes. Its connection carries another call once it is whole."""

    def __init__(self, link: Link, pool: Pool, request: httpx2.Request, read_s: float | None) -> None:
        self._link: Link | None = link
        self._pool = pool
        self._request = request
        self._read_s = read_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._link is not None and not self._link.ended:
            with _translated(self._request):
                async with asyncio.timeout(self._read_s):
                    piece = await self._link.body()
            if piece:
                yield piece

    async def aclose(self) -> None:
        """Let the connection go: to the next call, or for good if the body was not read to its end."""
        link, self._link = self._link, None
        if link is not None:
            self._pool.keep(link)


async def _asked(link: Link, request: httpx2.Request, body: bytes) -> Response:
    target = request.url.raw_path.decode("ascii")
    await link.send_head(request.method.encode(), target, request.headers.raw, body, ended=True)
    return await link.response()


async def _connected(socket_path: Path) -> Wire:
    """Connect. Errors: `httpx2.ConnectError` if there is no gateway after all pauses."""
    loop = asyncio.get_running_loop()
    error: OSError | None = None
    for pause_s in (None, *CONNECT_PAUSES_S):
        if pause_s is not None:
            await asyncio.sleep(pause_s)
        try:
            _, wire = await loop.create_unix_connection(Wire, str(socket_path))
        except OSError as failed:
            error = failed
        else:
            return wire
    raise httpx2.ConnectError("The egress gateway does not run.") from error


@contextlib.contextmanager
def _translated(request: httpx2.Request) -> Iterator[None]:
    """Turn what goes wrong into the client's errors."""
    try:
        yield
    except TimeoutError as error:
        raise httpx2.ReadTimeout("The egress gateway took too long.", request=request) from error
    except (Unanswered, ConnectionError, Refusal) as error:
        raise httpx2.RemoteProtocolError("The egress gateway ended the call.", request=request) from error
