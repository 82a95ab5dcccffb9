"""The egress benchmark's load: what a program on a machine, or the control plane, would send, and how long it took."""

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bench.egress_policy import HOST, PLACEHOLDER
from bench.egress_upstream import ANSWER_BODY
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded

BODY = b"x" * 2_048
_FIELDS = [(b"x-stainless-header-%d" % n, b"some-value-%d" % n) for n in range(8)]
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_READ_BYTES = 262_144

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


def by_tls(port: int, authority: Path, host: str = HOST, alpn: str = "http/1.1") -> Connect:
    """Return what connects to loopback as to a host, whose certificate must be by an authority."""
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols([alpn])
    return lambda: asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host, limit=_READ_BYTES)


def by_socket(path: Path) -> Connect:
    """Return what connects to a unix socket."""
    return lambda: asyncio.open_unix_connection(path)


def post(target: str, host: str = HOST, secret: str = PLACEHOLDER) -> bytes:
    """Return a request of 2 kB."""
    lines = [
        *(
            b"POST %s HTTP/1.1" % target.encode(),
            b"host: " + host.encode(),
            b"authorization: Bearer " + secret.encode(),
        ),
        *(b"content-type: application/json", b"content-length: %d" % len(BODY)),
        *(name + b": " + value for name, value in _FIELDS),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + BODY


async def calls(connect: Connect, request: bytes, count: int) -> list[float]:
    """Send a request again and again on one connection; return how many milliseconds each took."""
    reader, writer = await connect()
    took_ms = []
    for _ in range(count):
        started_s = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(len(ANSWER_BODY))
        took_ms.append((time.perf_counter() - started_s) * 1000)
    writer.close()
    return took_ms


async def calls_h2(connect: Connect, authority: str, target: str, count: int, at_once: int) -> None:
    """Send the same request by HTTP/2, `at_once` of them beside each other."""
    reader, writer = await connect()
    http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    http.initiate_connection()
    fields = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", authority.encode())]
    fields += [(b":path", target.encode()), (b"authorization", b"Bearer " + PLACEHOLDER.encode())]
    fields += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY)), *_FIELDS]
    begun = ended = 0
    while ended < count:
        while begun < count and begun - ended < at_once:
            stream_id = http.get_next_available_stream_id()
            http.send_headers(stream_id, fields)
            http.send_data(stream_id, BODY, end_stream=True)
            begun += 1
        writer.write(http.data_to_send())
        for event in http.receive_data(await reader.read(_READ_BYTES)):
            if isinstance(event, ResponseReceived):
                assert (b":status", b"200") in (event.headers or ()), event.headers
            elif isinstance(event, DataReceived):
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                ended += 1
    writer.close()


async def download(connect: Connect, host: str, size_bytes: int) -> float:
    """Fetch that much; return the seconds it took."""
    reader, writer = await connect()
    started_s = time.perf_counter()
    writer.write(b"GET /bytes/%d HTTP/1.1\r\nhost: %s\r\n\r\n" % (size_bytes, host.encode()))
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    assert head.startswith(b"HTTP/1.1 200"), head
    assert length, head
    assert int(length[1]) == size_bytes
    left_bytes = size_bytes
    while left_bytes:
        piece = await reader.read(_READ_BYTES)
        assert piece
        left_bytes -= len(piece)
    writer.close()
    return time.perf_counter() - started_s


async def upload(connect: Connect, host: str, size_bytes: int) -> float:
    """Send that much; return the seconds until it was answered."""
    reader, writer = await connect()
    started_s = time.perf_counter()
    writer.write(b"PUT /upload HTTP/1.1\r\nhost: %s\r\ncontent-length: %d\r\n\r\n" % (host.encode(), size_bytes))
    piece, left_bytes = b"\0" * 65_536, size_bytes
    while left_bytes:
        piece = piece[:left_bytes]
        writer.write(piece)
        await writer.drain()
        left_bytes -= len(piece)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(len(ANSWER_BODY))
    writer.close()
    return time.perf_counter() - started_s


async def beside_each_other(connect: Connect, request: bytes, count: int, clients: int) -> list[float]:
    """Send requests by several connections at once; return how many milliseconds each took."""
    batches: Sequence[list[float]] = await asyncio.gather(
        *(calls(connect, request, count // clients) for _ in range(clients))
    )
    return [each for batch in batches for each in batch]
