"""One request to Caddy's admin API, over its unix socket.

h11 and not an HTTP client, because Caddy sends the `ETag` of a configuration object as a trailer, which clients drop;
and that tag is what tells an object's place in the configuration and guards a change of it.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11

from subclaw.core.errors import Unavailable
from subclaw.routes.config import ADMIN_HOST

_REPLY_LIMIT_BYTES = 64 * 1024 * 1024
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class AdminReply:
    """What Caddy answered. `etag` is empty where it sent none."""

    status: int
    body: bytes
    etag: str = ""

    @property
    def path(self) -> str:
        """The configuration path that the answer is about, as its tag names it: `"<path> <hash>"`."""
        return self.etag.strip('"').rpartition(" ")[0]

    def json(self) -> Any:
        """Return the body's value."""
        return json.loads(self.body)


async def ask(
    socket: Path, method: str, path: str, value: Any = None, *, if_match: str = "", timeout_s: float = 30.0
) -> AdminReply:
    """Send one request and read the answer, on a connection of its own: Caddy renews its admin server at every change.

    Errors: `Unavailable` if Caddy cannot be reached, breaks off, or takes too long; then it may have acted or not.
    """
    body = b"" if value is None else json.dumps(value).encode()
    headers = [("Host", ADMIN_HOST), ("Connection", "close"), ("Content-Length", str(len(body)))]
    if body:
        headers.append(("Content-Type", "application/json"))
    if if_match:
        headers.append(("If-Match", if_match))
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(socket, h11.Request(method=method, target=path, headers=headers), body)
    except (OSError, TimeoutError, h11.ProtocolError) as error:
        internal = f"caddy's admin API: {error!r}"
        raise Unavailable("The web server does not answer right now.", internal=internal) from error


async def _exchange(socket: Path, request: h11.Request, body: bytes) -> AdminReply:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        connection = h11.Connection(h11.CLIENT)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        return await _reply(connection, reader)
    finally:
        writer.close()


async def _reply(connection: h11.Connection, reader: asyncio.StreamReader) -> AdminReply:
    status, body, headers = 0, bytearray(), dict[bytes, bytes]()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers.update(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _REPLY_LIMIT_BYTES:
                raise h11.RemoteProtocolError("the answer is too large")
        elif isinstance(event, h11.EndOfMessage):
            headers.update(event.headers)
            etag = headers.get(b"etag", b"").decode("ascii", "replace")
            return AdminReply(status=status, body=bytes(body), etag=etag)
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("the connection ended before an answer")
