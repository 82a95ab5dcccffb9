"""HTTP/2, as a server: each stream's request is answered like one that came by HTTP/1.1.

The states, the frames and HPACK are `h2`'s; what makes a request is in `http2_request`. Here are the bounds, and the
passing of bodies with back-pressure both ways: a window is only opened again when what came in has gone on.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error, ProtocolError, StreamClosedError
from h2.settings import SettingCodes

from subclaw.egress.http.exchange import Client, Record
from subclaw.egress.http.headers import Headers
from subclaw.egress.http.http2_request import fields_problem, read_request
from subclaw.egress.http.request import Request
from subclaw.egress.http.serving import Report, as_refusal
from subclaw.egress.http.stream import Stream
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal

STREAMS_LIMIT = 100
"""Requests of one connection at once."""
WINDOW_BYTES = 262_144
"""How much of all bodies together may have come in without having gone on; and of one body. The way is short."""
WASTED_LIMIT = 500
"""Requests that a client may take back, or make malformed, before its connection ends."""

Answer = Callable[[Client, Request, Record], Awaitable[bool]]

_CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding=None,
    # `read_request` checks what comes in, and a request that is malformed ends no other.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    # What goes out was checked as it came in from the upstream, and has no headers that end at a hop.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


async def serve_http2(stream: Stream, limits: Limits, answer: Answer, report: Report) -> None:
    """Serve a connection until it ends or is idle for too long."""
    connection = _Connection(stream, limits)
    async with asyncio.TaskGroup() as group:
        try:
            await connection.begin()
            while events := await connection.events():
                for event in events:
                    if (requested := connection.take(event)) is not None:
                        client, request = requested
                        client.serving = group.create_task(_serve_stream(client, request, answer, report))
                await connection.flush()
        except H2Error:
            connection.end(ErrorCodes.PROTOCOL_ERROR)
            with contextlib.suppress(ConnectionError, TimeoutError):
                await connection.flush()
        except (ConnectionError, TimeoutError):
            pass  # the client is gone, or takes nothing
        finally:
            connection.let_go()


async def _serve_stream(client: "_StreamClient", request: Request | Refusal, answer: Answer, report: Report) -> None:
    """Serve one request, whatever happens."""
    record, started_s, reason = Record(), time.monotonic(), ""
    try:
        if isinstance(request, Refusal):
            raise request
        await answer(client, request, record)
    except asyncio.CancelledError:
        reason = "cut"
        raise
    except (ConnectionError, TimeoutError, StreamClosedError, ProtocolError):
        reason = "the client is gone or takes nothing"
        client.reset(ErrorCodes.CANCEL)
        with contextlib.suppress(ConnectionError, TimeoutError):
            await client.flush()
    except Exception as error:  # one request must not end the gateway
        refusal = as_refusal(error)
        record.status, reason = refusal.status, refusal.internal
        with contextlib.suppress(ConnectionError, TimeoutError, H2Error):
            await client.refuse(refusal)
    finally:
        client.connection.forget(client)
        report(record, time.monotonic() - started_s, reason)


class _Connection:
    """The state of a connection, and its streams."""

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self.limits = limits
        self.http = H2Connection(_CONFIGURATION)
        self._stream = stream
        self._clients: dict[int, _StreamClient] = {}
        self._sending = asyncio.Lock()
        self._wasted = 0
        self._over = False

    async def begin(self) -> None:
        """Say what is allowed."""
        self.http.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = STREAMS_LIMIT
        self.http.initiate_connection()
        self.http.update_settings(
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_LIMIT,
                SettingCodes.MAX_HEADER_LIST_SIZE: self.limits.head_bytes,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                SettingCodes.ENABLE_PUSH: 0,
            }
        )
        self.http.increment_flow_control_window(WINDOW_BYTES)
        await self.flush()

    async def events(self) -> Sequence[Event]:
        """Return what has come in; nothing once the connection is over. Errors: `H2Error`, `ConnectionError`."""
        while not self._over:
            try:
                data = await self._stream.read(self.limits.idle_s if self._clients else self.limits.client_idle_s)
            except TimeoutError:
                if self._clients:  # each has limits of its own; a client that listens may have nothing to say
                    continue
                return ()
            if not data:
                return ()
            if events := self.http.receive_data(data):
                return events
            await self.flush()
        return ()

    def take(self, event: Event) -> "tuple[_StreamClient, Request | Refusal] | None":
        """Take one event; return a request that begins with it, or why there is none to be carried out."""
        match event:
            case RequestReceived():
                return self._begun(event)
            case DataReceived():
                self._received(event)
            case TrailersReceived():
                self._trailed(event)
            case StreamEnded() | StreamReset():
                self._ended(event)
            case WindowUpdated():
                for waiting in self._clients.values():
                    waiting.wake()
            case ConnectionTerminated():
                self._over = True
        return None

    def _begun(self, event: RequestReceived) -> "tuple[_StreamClient, Request | Refusal]":
        request = read_request(_fields(event), self.limits, ended=event.stream_ended is not None)
        awaits_word = isinstance(request, Request) and request.awaits_word
        client = _StreamClient(self, event.stream_id, awaits_word=awaits_word)
        self._clients[event.stream_id] = client
        if isinstance(request, Refusal):
            self._waste()
        return client, request

    def _trailed(self, event: TrailersReceived) -> None:
        """Trailers go nowhere; but a request that ends with malformed ones is none."""
        client = self._clients.get(event.stream_id)
        if client is not None and fields_problem(_fields(event)):
            self._waste()
            client.reset(ErrorCodes.PROTOCOL_ERROR)
            client.cancel()

    def _waste(self) -> None:
        self._wasted += 1
        self._over = self._over or self._wasted > WASTED_LIMIT

    def _received(self, event: DataReceived) -> None:
        client = self._clients.get(event.stream_id)
        if client is not None:
            client.received(event.data, event.flow_controlled_length)
        else:  # of a stream that is over already
            self.acknowledge(event.stream_id, event.flow_controlled_length)

    def _ended(self, event: StreamEnded | StreamReset) -> None:
        client = self._clients.get(event.stream_id)
        if isinstance(event, StreamReset):
            self._waste()
            if client is not None:
                client.cancel()
        elif client is not None:
            client.ended()

    def acknowledge(self, stream_id: int, size_bytes: int) -> None:
        """Open the windows again by what has gone on."""
        if size_bytes:
            with contextlib.suppress(StreamClosedError, ProtocolError):
                self.http.acknowledge_received_data(size_bytes, stream_id)

    async def flush(self) -> None:
        """Send what was written, waiting while the client is slow."""
        async with self._sending:
            if data := self.http.data_to_send():
                await self._stream.write(data, self.limits.idle_s)

    def forget(self, client: "_StreamClient") -> None:
        """Let a stream go that is over; what of its body was not read opens the window for others."""
        self._clients.pop(client.stream_id, None)
        client.drop()

    def end(self, error: ErrorCodes) -> None:
        """Say that the connection ends here."""
        with contextlib.suppress(H2Error):
            self.http.close_connection(error)
        self._over = True

    def let_go(self) -> None:
        """End every request that is under way."""
        for client in list(self._clients.values()):
            client.cancel()


class _StreamClient:
    """One stream's client: see `exchange.Client`."""

    def __init__(self, connection: _Connection, stream_id: int, *, awaits_word: bool) -> None:
        """`awaits_word` says that the body may only come once it is asked for."""
        self.connection = connection
        self.stream_id = stream_id
        self.serving: asyncio.Task[None] | None = None
        self.body_bytes = 0
        self.begun = False
        self._head: Headers = []
        self._received = bytearray()
        self._flow_bytes = 0
        self._ended = False
        self._awaits_word = awaits_word
        self._changed = asyncio.Event()

    def received(self, data: bytes, flow_bytes: int) -> None:
        """Keep a piece of the body until it is read."""
        self._received += data
        self._flow_bytes += flow_bytes
        self.wake()

    def ended(self) -> None:
        """Note that the body is whole."""
        self._ended = True
        self.wake()

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._changed.set()

    def cancel(self) -> None:
        """End the serving of the request, which may not have begun."""
        if self.serving is not None:
            self.serving.cancel()
        self.connection.forget(self)

    def drop(self) -> None:
        """Throw away what was not read."""
        self._take()

    async def body(self) -> bytes:
        """See `exchange.Client.body`."""
        limits = self.connection.limits
        if self._awaits_word and not self._received and not self._ended:
            self.connection.http.send_headers(self.stream_id, [(b":status", b"100")])
        self._awaits_word = False
        while not self._received and not self._ended:
            self._take()  # what was padding alone
            await self._change("the request took too long to arrive")
        data = self._take()
        await self.connection.flush()
        self.body_bytes += len(data)
        if self.body_bytes > limits.body_bytes:
            raise Refusal(413, f"the request is larger than {limits.body_bytes:,} bytes")
        return data

    async def gather(self, limit_bytes: int) -> tuple[bytes, bool]:
        """See `exchange.Client.gather`."""
        gathered = bytearray()
        while len(gathered) <= limit_bytes:
            piece = await self.body()
            if not piece:
                return bytes(gathered), True
            gathered += piece
        return bytes(gathered), False

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """See `exchange.Client.begin`."""
        self.begun = True
        self._head = [(b":status", b"%d" % status), *((name.lower(), value) for name, value in headers)]

    async def flush(self) -> None:
        """See `exchange.Client.flush`."""
        self._send_head(ended=False)
        await self.connection.flush()

    async def send(self, data: bytes) -> None:
        """See `exchange.Client.send`."""
        self._send_head(ended=False)
        http, view = self.connection.http, memoryview(data)
        while view:
            room = min(http.local_flow_control_window(self.stream_id), http.max_outbound_frame_size)
            if room <= 0:
                await self._change("the answer is not taken")
                continue
            http.send_data(self.stream_id, bytes(view[:room]))
            view = view[room:]
        await self.connection.flush()

    async def finish(self, last: bytes = b"") -> bool:
        """See `exchange.Client.finish`."""
        if last:
            await self.send(last)
        self._end()
        self._refuse_rest()
        await self.connection.flush()
        return True

    async def refuse(self, refusal: Refusal) -> None:
        """Tell why there is no answer; one that has begun breaks off."""
        if self.begun:
            self.reset(ErrorCodes.INTERNAL_ERROR)
        else:
            body = json.dumps({"error": {"message": refusal.public}}).encode()
            length = b"%d" % len(body)
            self.begin(refusal.status, [(b"content-type", b"application/json"), (b"content-length", length)])
            await self.send(body)
            self.connection.http.end_stream(self.stream_id)
            self._refuse_rest()
        await self.connection.flush()

    def reset(self, error: ErrorCodes) -> None:
        """End the stream at once."""
        self._head = []
        with contextlib.suppress(H2Error):
            self.connection.http.reset_stream(self.stream_id, error)

    def _end(self) -> None:
        """End the answer. One without a body must not have an empty one: 304 may say a length."""
        if self._head:
            self._send_head(ended=True)
        else:
            self.connection.http.end_stream(self.stream_id)

    def _send_head(self, *, ended: bool) -> None:
        """Write the head of the answer, unless that was done."""
        if self._head:
            self.connection.http.send_headers(self.stream_id, self._head, end_stream=ended)
            self._head = []

    def _refuse_rest(self) -> None:
        """What is still to come of the request's body is not wanted once it is answered (RFC 9113, section 8.1)."""
        if not self._ended:
            self.reset(ErrorCodes.NO_ERROR)

    def _take(self) -> bytes:
        """Take what has come in, and open the windows by it."""
        data, flow_bytes = bytes(self._received), self._flow_bytes
        self._received, self._flow_bytes = bytearray(), 0
        self.connection.acknowledge(self.stream_id, flow_bytes)
        return data

    async def _change(self, reason: str) -> None:
        self._changed.clear()
        await self.connection.flush()
        try:
            async with asyncio.timeout(self.connection.limits.idle_s):
                await self._changed.wait()
        except TimeoutError:
            raise Refusal(408, reason) from None


def _fields(event: RequestReceived | TrailersReceived) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in event.headers or ()]
