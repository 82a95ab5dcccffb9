"""A client that abuses HTTP/2: it is cut off or slowed down, the gateway's memory stays bounded, others are served."""

import asyncio
import struct

import psutil
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from tests.real.egress_scene import PLACEHOLDER, SECRET, Scene, scene
from tests.real.http2_client import headers, http2_client

from subclaw.core.quota import Quota
from subclaw.egress.http.http2 import STREAMS_LIMIT, WASTED_LIMIT
from subclaw.egress.limits import Limits
from subclaw.testing.egress import run
from subclaw.testing.upstream import Connection, Seen, simple

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
MEGABYTE = 2**20


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Write a frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def memory_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


async def never(_: Seen, connection: Connection) -> None:
    """Answer nothing."""
    while await connection.read():
        pass


async def served(at: Scene) -> None:
    """See that others are served."""
    async with asyncio.timeout(5):
        assert (await at.ask_http2()).status == 200


def test_requests_that_are_taken_back_at_once() -> None:
    async def scenario() -> None:
        async with scene() as at:
            async with http2_client(at.door, "api.test") as client:
                for _ in range(WASTED_LIMIT + 200):
                    stream = client.ask(headers(at.api_host), ends=False)
                    client.http.reset_stream(stream, ErrorCodes.CANCEL)
                await client.flush()
                await client.until_over()
            assert len(at.api.requests) < 50
            await served(at)

    run(scenario)


def test_malformed_requests_end_the_connection_when_there_are_too_many() -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            asked = 0
            while not client.over and asked <= WASTED_LIMIT:
                await client.get([*headers(at.api_host), ("x", "a ")])
                asked += 1
            await client.until_over()
            assert asked >= WASTED_LIMIT
            assert at.api.connections == []
            await served(at)

    run(scenario)


def test_a_request_that_is_taken_back_ends_its_call_and_no_other() -> None:
    async def scenario() -> None:
        arrived = asyncio.Event()

        async def slow(seen: Seen, connection: Connection) -> None:
            if seen.target == "/slow":
                arrived.set()
                await connection.read()
            else:
                await connection.write(simple(b"fine"))

        async with scene(slow) as at, http2_client(at.door, "api.test") as client:
            stream = client.ask(headers(at.api_host, "/slow"))
            await client.flush()
            await arrived.wait()
            other = client.ask(headers(at.api_host, "/other"))
            client.http.reset_stream(stream, ErrorCodes.CANCEL)
            assert (await client.answer(other)).status == 200
            await at.api.connections[0].ended.wait()

    run(scenario)


def test_more_requests_at_once_than_may_be() -> None:
    async def scenario() -> None:
        async with scene(never) as at, http2_client(at.door, "api.test") as client:
            client.http.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 2**31 - 1
            client.http.remote_settings.acknowledge()
            for _ in range(STREAMS_LIMIT + 1):
                client.ask(headers(at.api_host))
            await client.flush()
            await client.until_over()
            assert client.error == ErrorCodes.PROTOCOL_ERROR
            assert len(at.api.connections) <= STREAMS_LIMIT

    run(scenario)


def test_one_machine_has_no_more_calls_than_it_may_have_connections() -> None:
    async def scenario() -> None:
        async with (
            scene(never, quota=Quota(connections=5)) as at,
            http2_client(at.door, "api.test") as client,
        ):
            streams = [client.ask(headers(at.api_host)) for _ in range(8)]
            for stream in streams[5:]:
                assert (await client.answer(stream)).status == 429
            while len(at.api.connections) < 5:
                await asyncio.sleep(0.01)
            assert len(at.api.connections) == 5

    run(scenario)


@pytest.mark.alone
@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, bytes(8)),
        frame(SETTINGS, 0, struct.pack(">HI", 3, 100)),
        frame(WINDOW_UPDATE, 0, struct.pack(">I", 1)),
        frame(2, 1, bytes(5)),
        frame(0x77, 0, b"unknown"),
    ],
    ids=["PING", "SETTINGS", "WINDOW_UPDATE", "PRIORITY", "unknown"],
)
def test_floods_of_small_frames(flood: bytes) -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            await served(at)
            before = memory_bytes()

            async def send() -> None:
                for _ in range(200):
                    await client.send_raw(flood * 500)

            async with asyncio.TaskGroup() as group:
                sending = group.create_task(send())
                await served(at)
                # A client that takes nothing of what its frames are answered with is made to wait.
                await asyncio.wait([sending], timeout=2)
                sending.cancel()
            assert memory_bytes() - before < 30 * MEGABYTE
            await served(at)

    run(scenario)


@pytest.mark.parametrize(
    "payload", [b"", b"x", b"\0", b"\xff" + bytes(255)], ids=["empty", "byte", "unpadded", "padding"]
)
def test_a_body_in_small_frames_takes_no_more_than_its_window(payload: bytes) -> None:
    async def scenario() -> None:
        async with scene(mute=True) as at, http2_client(at.door, "api.test") as client:
            stream = client.ask(headers(at.api_host, method="POST"), ends=False)
            await client.upload(stream, 100_000, b"x" * 16_384, ends=False)
            before = memory_bytes()
            piece = frame(DATA, stream, payload, 0 if payload in (b"", b"x") else 8)
            for _ in range(100):
                await client.send_raw(piece * {b"": 3_000, b"x": 1_000}.get(payload, 5))
            other = client.ask(headers(at.evil_host))
            await client.flush()
            while not client.answers[other].status:
                await client.take()
            assert memory_bytes() - before < 8 * MEGABYTE
            assert not client.over

    run(scenario)


def test_a_window_that_stays_shut_holds_only_its_own_stream() -> None:
    async def large(seen: Seen, connection: Connection) -> None:
        await connection.write(simple(b"x" * 300_000 if seen.target == "/large" else b"fine"))

    async def scenario() -> None:
        limits = Limits(idle_s=0.5)
        async with scene(large, limits=limits) as at, http2_client(at.door, "api.test") as client:
            client.takes = False
            client.http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            stuck = client.ask(headers(at.api_host, "/large"))
            await client.flush()
            await client.take()
            answer = await client.answer(stuck)
            assert answer.reset is not None
            assert not answer.ended
            assert not client.over
            await served(at)

    run(scenario)


def test_a_head_that_never_ends() -> None:
    async def scenario() -> None:
        for size_bytes in (0, 1, 16_000):
            async with scene() as at, http2_client(at.door, "api.test") as client:
                before = memory_bytes()
                await client.send_raw(frame(HEADERS, 1, b"\x82"))
                for _ in range(2_000):
                    try:
                        await client.send_raw(frame(CONTINUATION, 1, b"\x00" * size_bytes))
                    except ConnectionError:
                        break
                await client.until_over()
                assert memory_bytes() - before < 20 * MEGABYTE
                assert at.api.connections == []

    run(scenario)


def test_a_small_head_that_means_a_large_one() -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            before = memory_bytes()
            value = b"a" * 4_000
            entry = b"\x40\x01x" + b"\x7f" + bytes([(len(value) - 127) & 0x7F | 0x80, (len(value) - 127) >> 7]) + value
            await client.send_raw(frame(HEADERS, 1, entry + b"\xbe" * 12_000, 4))
            await client.until_over()
            assert client.error in (ErrorCodes.PROTOCOL_ERROR, ErrorCodes.ENHANCE_YOUR_CALM, None)
            assert memory_bytes() - before < 20 * MEGABYTE
            assert at.api.connections == []

    run(scenario)


def test_too_many_and_too_large_headers() -> None:
    async def scenario() -> None:
        async with scene() as at:
            for others in ([(f"x-{number}", "y") for number in range(101)], [("x", "y" * 65_536)]):
                async with http2_client(at.door, "api.test") as client:
                    answer = await client.get([*headers(at.api_host), *others])
                    assert answer.status in (0, 400, 431)
            assert at.api.connections == []

    run(scenario)


BROKEN = {
    "noise": b"\xff" * 100,
    "a frame that is too large": frame(DATA, 1, b"x" * 20_000),
    "data without a request": frame(DATA, 1, b"x"),
    "data for the connection": frame(DATA, 0, b"x"),
    "an even stream": frame(HEADERS, 2, b"\x82", 4),
    "a window that overflows": frame(WINDOW_UPDATE, 0, struct.pack(">I", 2**31 - 1)) * 2,
    "a window that opens by nothing": frame(WINDOW_UPDATE, 0, struct.pack(">I", 0)),
    "a PING of the wrong size": frame(PING, 0, b"x"),
    "a push": frame(5, 1, bytes(8), 4),
    "HPACK noise": frame(HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff", 4),
    "an index that is not there": frame(HEADERS, 1, b"\xfe", 4),
    "half a frame": frame(PING, 0, bytes(8))[:12],
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_http2(raw: bytes) -> None:
    async def scenario() -> None:
        async with scene(limits=Limits(client_idle_s=0.3)) as at:
            async with http2_client(at.door, "api.test") as client:
                await client.take()
                await client.send_raw(raw)
                await client.until_over()
            assert at.api.connections == []
            await served(at)

    run(scenario)


def test_a_connection_that_ends_in_the_middle_ends_its_calls() -> None:
    async def scenario() -> None:
        async with scene(never) as at:
            async with http2_client(at.door, "api.test") as client:
                for _ in range(20):
                    client.ask(headers(at.api_host))
                await client.flush()
                while len(at.api.requests) < 20:
                    await asyncio.sleep(0.01)
            for connection in at.api.connections:
                await connection.ended.wait()
            while at.door.machine.serving():
                await asyncio.sleep(0.01)

    run(scenario)


def test_streams_of_one_connection_are_remembered_no_longer_than_they_last() -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            for _ in range(300):
                assert (await client.get(headers(at.api_host))).status == 200
            assert len(at.door.machine.serving()) == 1

    run(scenario)


def test_what_waits_to_be_asked_for_is_asked_for() -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            stream = client.ask(headers(at.api_host, method="POST", expect="100-continue"), ends=False)
            await client.flush()
            while not client.answers[stream].interim:
                await client.take()
            assert at.api.connections == []
            client.http.send_data(stream, b"body", end_stream=True)
            assert (await client.answer(stream)).status == 200
            assert at.api.requests[0].body == b"body"
            assert "expect" not in at.api.requests[0].headers
            refused = client.ask(headers(at.evil_host, method="POST", expect="100-continue"), ends=False)
            assert (await client.answer(refused)).interim == []
            assert client.answers[refused].status == 421

    run(scenario)


@pytest.mark.parametrize(
    ("raw", "method", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", 204),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n", "GET", 304),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "HEAD", 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "HEAD", 200),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "GET", 200),
    ],
    ids=["204", "304", "HEAD", "HEAD in chunks", "103"],
)
def test_answers_without_a_body(raw: bytes, method: str, expected: int) -> None:
    async def answer(_: Seen, connection: Connection) -> None:
        await connection.write(raw)

    async def scenario() -> None:
        async with scene(answer) as at:
            found = await at.ask_http2("/", method)
            assert (found.status, bytes(found.body), found.ended) == (expected, b"", True)
            assert (await at.ask("/", method=method)).startswith(b"HTTP/1.1 %d " % expected)

    run(scenario)


def test_an_answer_that_ends_with_its_connection_and_trailers_that_stay() -> None:
    async def until_end(seen: Seen, connection: Connection) -> None:
        if seen.target == "/trailers":
            await connection.write(b"HTTP/1.1 200 OK\r\ntrailer: grpc-status\r\ntransfer-encoding: chunked\r\n\r\n")
            await connection.write(b"4\r\nfine\r\n0\r\ngrpc-status: 0\r\n\r\n")
        else:
            await connection.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000)
            connection.close()

    async def scenario() -> None:
        async with scene(until_end) as at:
            answer = await at.ask_http2()
            assert (answer.status, len(answer.body), answer.ended) == (200, 200_000, True)
            assert (await at.ask()).count(b"x") >= 200_000
            answer = await at.ask_http2("/trailers")
            assert (bytes(answer.body), answer.trailers, answer.ended) == (b"fine", False, True)
            assert b"grpc-status" not in await at.ask("/trailers")

    run(scenario)


@pytest.mark.parametrize("version", [1, 2])
def test_an_answer_that_breaks_off_looks_like_one(version: int) -> None:
    async def broken(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 50_000)
        connection.abort()

    async def scenario() -> None:
        async with scene(broken) as at:
            if version == 2:
                answer = await at.ask_http2()
                assert answer.reset is not None or answer.status == 502
            else:
                assert len(await at.ask()) < 100_000
            assert not any(SECRET in noted.reason for noted in at.door.decisions)

    run(scenario)


@pytest.mark.parametrize("version", [1, 2])
def test_a_large_upload_goes_through_with_little_memory(version: int) -> None:
    size_bytes = 50 * MEGABYTE

    came = bytearray()

    async def sink(connection: Connection) -> None:
        came.clear()
        while not came.endswith(b"END") and not came.endswith(b"END\r\n0\r\n\r\n"):
            came[:] = (came + await connection.read())[-20:]
            connection.received.clear()
        await connection.write(simple(b"fine"))
        await connection.ended.wait()

    async def scenario() -> None:
        async with scene(conversation=sink, limits=Limits(body_bytes=2**30)) as at:
            before = memory_bytes()
            if version == 2:
                async with http2_client(at.door, "api.test") as client:
                    fields = headers(at.api_host, method="PUT", authorization=f"Bearer {PLACEHOLDER}")
                    stream = client.ask(fields, ends=False)
                    await client.upload(stream, size_bytes, b"x" * 16_384, ends=False)
                    client.http.send_data(stream, b"END", end_stream=True)
                    assert (await client.answer(stream)).status == 200
            else:
                reader, writer = await at.door.connect_tls("api.test")
                writer.write(at.get("/", f"Content-Length: {size_bytes + 3}", "Connection: close", method="PUT"))
                for _ in range(size_bytes // 65_536):
                    writer.write(b"x" * 65_536)
                    await writer.drain()
                writer.write(b"END")
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
                writer.close()
            assert memory_bytes() - before < 20 * MEGABYTE

    run(scenario)
