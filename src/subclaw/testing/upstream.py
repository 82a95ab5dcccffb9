"""A fake upstream on loopback: speaks real HTTP/1.1, keeps every byte that it gets, and misbehaves on request."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11

_READ_BYTES = 65_536


class Connection:
    """One accepted connection: reads are logged, writes go out at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = bytearray()
        self.ended = asyncio.Event()
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what came in; nothing at the end, whether clean or not."""
        try:
            data = await self._reader.read(_READ_BYTES)
        except ConnectionError:
            data = b""
        self.received += data
        if not data:
            self.ended.set()
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """Close in good order."""
        self._writer.close()

    def abort(self) -> None:
        """Break the connection off."""
        self._writer.transport.abort()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as the upstream understood it; header names in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Seen, Connection], Awaitable[None]]
"""Answers one request by writing to the connection."""

Conversation = Callable[[Connection], Awaitable[None]]
"""Handles a whole connection, byte by byte."""


@dataclass(kw_only=True)
class FakeUpstream:
    """What a test sees of its upstream."""

    port: int = 0
    connections: list[Connection] = field(default_factory=list)
    requests: list[Seen] = field(default_factory=list)

    @property
    def received(self) -> bytes:
        """Every byte of every connection."""
        return b"".join(bytes(connection.received) for connection in self.connections)


@asynccontextmanager
async def raw_upstream(conversation: Conversation, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeUpstream]:
    """Serve on a free port of 127.0.0.1, each connection by `conversation`."""
    upstream = FakeUpstream()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        upstream.connections.append(connection)
        try:
            await conversation(connection)
        except ConnectionError:
            connection.ended.set()
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for connection in upstream.connections:
            connection.abort()
        await server.wait_closed()


@asynccontextmanager
async def http_upstream(answer: Answer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeUpstream]:
    """Serve on a free port of 127.0.0.1, each complete request by `answer`; connections are kept alive."""
    holder: list[FakeUpstream] = []

    async def converse(connection: Connection) -> None:
        http = h11.Connection(h11.SERVER)
        while (seen := await _next_request(http, connection)) is not None:
            holder[0].requests.append(seen)
            await answer(seen, connection)
            http = _recycled(http)

    async with raw_upstream(converse, tls=tls) as upstream:
        holder.append(upstream)
        yield upstream


def simple(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a whole answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _next_request(http: h11.Connection, connection: Connection) -> Seen | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await connection.read()
            if not data and head is None:
                return None
            http.receive_data(data)
            if not data:
                return None
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode(): value.decode() for name, value in head.headers}
            return Seen(method=head.method.decode(), target=head.target.decode(), headers=headers, body=bytes(body))


def _recycled(http: h11.Connection) -> h11.Connection:
    """Go on with a new state and the bytes that came early: answers are written past h11."""
    fresh = h11.Connection(h11.SERVER)
    rest: bytes = http.trailing_data[0]
    if rest:
        fresh.receive_data(rest)
    return fresh
