"""An HTTP/2 client that sends what it is told to, however malformed, and says what came back."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from subclaw.testing.egress_machine import MachineDoor

Headers = Sequence[tuple[str | bytes, str | bytes]]


@dataclass(kw_only=True)
class Answer:
    """What came back on one stream. `status` is 0 if none did; `reset` is the code with which it broke off."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    interim: list[int] = field(default_factory=list)
    trailers: bool = False
    ended: bool = False
    reset: ErrorCodes | int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.ended or self.reset is not None


class Http2Client:
    """One connection. `received` is every byte that came, decrypted; `over` says that the gateway has ended it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.http = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                split_outbound_cookies=False,
            )
        )
        self.answers: dict[int, Answer] = {}
        self.received = bytearray()
        self.over = False
        self.error: ErrorCodes | int | None = None
        self.takes = True
        """Whether what comes in opens the window again."""
        self._reader = reader
        self._writer = writer

    async def begin(self) -> None:
        """Say hello."""
        self.http.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        """Send what was written."""
        self._writer.write(self.http.data_to_send())
        await self._writer.drain()

    async def send_raw(self, data: bytes) -> None:
        """Send bytes that the library knows nothing of."""
        await self.flush()
        self._writer.write(data)
        await self._writer.drain()

    def ask(self, headers: Headers, body: bytes | None = None, *, ends: bool = True) -> int:
        """Write a request; return its stream."""
        stream = self.http.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.http.send_headers(stream, list(headers), end_stream=ends and body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=ends)
        return stream

    async def answer(self, stream: int) -> Answer:
        """Return the answer to a request when it is over, or the connection is."""
        await self.flush()
        answer = self.answers[stream]
        while not answer.over and not self.over:
            await self.take()
        return answer

    async def get(self, headers: Headers, body: bytes | None = None) -> Answer:
        """Make a request, and return the answer."""
        return await self.answer(self.ask(headers, body))

    async def upload(self, stream: int, size_bytes: int, piece: bytes, *, ends: bool = True) -> None:
        """Send a body of repeated pieces as fast as the windows allow, and end it unless told otherwise."""
        left = size_bytes
        while left and not self.over and not self.answers[stream].over:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size, left, len(piece))
            if room:
                self.http.send_data(stream, piece[:room], end_stream=ends and room == left)
                left -= room
                await self.flush()
            else:
                await self.take()

    async def take(self) -> None:
        """Take what comes next."""
        try:
            data = await self._reader.read(65_536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.received += data
        self.over = self.over or not data
        for event in self.http.receive_data(data) if data else ():
            self._take(event)
        if not self.over:
            await self.flush()

    async def until_over(self) -> None:
        """Take what comes until the gateway ends the connection."""
        while not self.over:
            await self.take()

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    def _take(self, event: Event) -> None:
        match event:
            case ConnectionTerminated():
                self.over, self.error = True, event.error_code
            case InformationalResponseReceived():
                self.answers[event.stream_id].interim.append(_status(event.headers))
            case ResponseReceived():
                answer = self.answers[event.stream_id]
                answer.status = _status(event.headers)
                answer.headers = {bytes(name): bytes(value) for name, value in event.headers or ()}
            case TrailersReceived():
                self.answers[event.stream_id].trailers = True
            case DataReceived():
                self.answers[event.stream_id].body += event.data
                if self.takes:
                    self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                self.answers[event.stream_id].ended = True
            case StreamReset() if event.stream_id in self.answers:
                self.answers[event.stream_id].reset = event.error_code


def headers(authority: str, path: str = "/", method: str = "GET", **others: str) -> list[tuple[str, str]]:
    """Return the headers of a plain request. Underscores in names are hyphens."""
    pseudo = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
    return [*pseudo, *((name.replace("_", "-"), value) for name, value in others.items())]


@asynccontextmanager
async def http2_client(door: MachineDoor, host: str) -> AsyncIterator[Http2Client]:
    """Connect to a host by HTTP/2."""
    reader, writer = await door.connect_tls(host, alpn=("h2",))
    client = Http2Client(reader, writer)
    try:
        await client.begin()
        yield client
    finally:
        client.close()


def _status(fields: object) -> int:
    assert isinstance(fields, list)
    return int(dict(fields)[b":status"])
