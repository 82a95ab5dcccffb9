"""A machine's side of TLS: what is odd is refused or read right, and never ends anything but its own connection."""

import asyncio
import ssl

import pytest
from tests.hellos import client_hello
from tests.real.egress_scene import Scene, scene

from subclaw.core.policy import Mode
from subclaw.core.quota import Quota
from subclaw.egress.limits import Limits
from subclaw.testing.egress import run


async def said_to(at: Scene, data: bytes, *, pieces: int = 0) -> bytes:
    """Send bytes as they are, in pieces of so many if told; return what the gateway says until it closes."""
    reader, writer = await at.door.connect()
    writer.transport.set_write_buffer_limits(0)
    try:
        for start in range(0, len(data), pieces or len(data)):
            writer.write(data[start : start + (pieces or len(data))])
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def records(hello: bytes, size_bytes: int) -> bytes:
    """Cut a hello into records of so many bytes."""
    body = hello[5:]
    pieces = [body[at : at + size_bytes] for at in range(0, len(body), size_bytes)]
    return b"".join(hello[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


def test_a_hello_in_segments_of_one_byte() -> None:
    async def scenario() -> None:
        async with scene(limits=Limits(head_s=0.3)) as at:
            said = await said_to(at, client_hello("api.test"), pieces=1)
            assert said[:1] == b"\x16"

    run(scenario)


def test_a_hello_in_several_records_and_in_too_many() -> None:
    async def scenario() -> None:
        async with scene(limits=Limits(head_s=0.3)) as at:
            assert (await said_to(at, records(client_hello("api.test"), 100)))[:1] == b"\x16"
            assert await said_to(at, records(client_hello("api.test"), 1)) == b""
            assert any("pieces" in reason for reason in at.reasons)

    run(scenario)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(version: ssl.TLSVersion) -> None:
    async def scenario() -> None:
        async with scene(limits=Limits(head_s=0.3)) as at:
            with pytest.warns(DeprecationWarning, match="TLSv1"):
                hello = client_hello("api.test", lowest=version, highest=version)
            assert (await said_to(at, hello))[:1] == b"\x15"
            assert at.api.connections == []

    run(scenario)


def test_tls_1_2_and_names_in_capitals() -> None:
    async def scenario() -> None:
        async with scene() as at:
            context = at.door.trusting
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", at.door.port, ssl=context, server_hostname="API.Test"
            )
            writer.write(at.get(host=at.api_host.upper()).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()

    run(scenario)


def test_a_dot_at_the_end_of_the_host() -> None:
    async def scenario() -> None:
        async with scene() as at:
            request = at.get(host=f"api.test.:{at.api.port}").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert (await at.door.talk(request, host="api.test")).startswith(b"HTTP/1.1 200 ")

    run(scenario)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.test:{port}", "api.test@evil.test", "evil.test#api.test", "api%2etest:{port}", "api.test :{port}"),
        *("api.test:{port}:80", "api.test:", "api.test:x", "api.test:-1", "api.test:99999", "api.test..:{port}"),
        *(".api.test:{port}", "*.test:{port}", "xn--a.test:{port}", "api.test,evil.test", "api.test evil.test"),
        *("api.test/evil", "api.test?x", "api.test\\evil", "", "api_test.test:{port}", "api.test\t:{port}"),
    ],
)
def test_odd_hosts_within_tls(host: str) -> None:
    async def scenario() -> None:
        async with scene() as at:
            raw = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.format(port=at.api.port).encode()
            answer = await at.door.talk(raw, host="api.test")
            assert answer.split(b" ")[1] in (b"400", b"421")
            assert at.api.connections == []

    run(scenario)


@pytest.mark.parametrize("protocols", [(), ("acme-tls/1",), ("h3",), ("http/1.0",), ("h2c", "spdy/3")])
def test_protocols_that_are_not_spoken(protocols: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with scene() as at:
            context = at.door.trusting
            if protocols:
                context.set_alpn_protocols(list(protocols))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", at.door.port, ssl=context, server_hostname="api.test"
            )
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
            writer.write(at.get("/", "Connection: close"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()

    run(scenario)


RECORDS = {
    "alerts": b"\x15\x03\x03\x00\x02\x01\x00" * 10_000,
    "fatal alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "empty records": b"\x17\x03\x03\x00\x00" * 10_000,
    "change of keys": b"\x14\x03\x03\x00\x01\x01" * 10_000,
    "noise": b"\x16\x03\x03\x40\x00" + b"\xff" * 16_384,
    "application data": b"\x17\x03\x03\x00\x10" + b"x" * 16,
    "a second hello": client_hello("evil.test"),
}


@pytest.mark.parametrize("after", RECORDS.values(), ids=RECORDS.keys())
def test_what_may_not_follow_a_hello(after: bytes) -> None:
    async def scenario() -> None:
        async with scene(limits=Limits(head_s=0.3)) as at:
            await said_to(at, client_hello("api.test") + after)
            assert at.api.connections == []
            assert (await at.ask()).startswith(b"HTTP/1.1 200 ")

    run(scenario)


def test_whoever_says_nothing_or_half_is_let_go() -> None:
    async def scenario() -> None:
        async with scene(limits=Limits(head_s=0.2, client_idle_s=0.2)) as at:
            hello = client_hello("api.test")
            for data in (b"", hello[:1], hello[:100], hello):
                reader, writer = await at.door.connect()
                writer.write(data)
                await reader.read()
                writer.close()
            reader, writer = await at.door.connect_tls("api.test")
            assert await reader.read() == b""
            writer.write(at.get()[:30])
            writer.close()
            reader, writer = await at.door.connect_tls("api.test")
            writer.write(at.get()[:30])
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            writer.close()

    run(scenario)


def test_handshakes_that_come_at_once_and_never_end_hold_nobody_up() -> None:
    async def scenario() -> None:
        async with scene(quota=Quota(connections=200)) as at:

            async def stall() -> asyncio.StreamWriter:
                reader, writer = await at.door.connect()
                writer.write(client_hello("api.test"))
                assert await reader.read(1) == b"\x16"  # and nothing is said to what follows
                return writer

            stalled = await asyncio.gather(*(stall() for _ in range(150)))
            assert (await at.ask()).startswith(b"HTTP/1.1 200 ")
            for writer in stalled:
                writer.close()

    run(scenario)


def test_a_head_and_a_body_byte_by_byte() -> None:
    async def scenario() -> None:
        async with scene() as at:
            reader, writer = await at.door.connect_tls("api.test")
            for byte in at.get("/", "Content-Length: 4", "Connection: close", method="POST") + b"body":
                writer.write(bytes([byte]))
                await writer.drain()
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
            assert at.api.requests[0].body == b"body"

    run(scenario)


def test_a_certificate_of_the_clients_is_not_asked_for() -> None:
    async def scenario() -> None:
        async with scene() as at:
            reader, writer = await at.door.connect_tls("api.test")
            writer.write(at.get("/", "Connection: close"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            issued = writer.get_extra_info("ssl_object").getpeercert()
            assert issued["subjectAltName"] == (("DNS", "api.test"),)
            writer.close()

    run(scenario)


def test_half_a_close_ends_the_connection() -> None:
    async def scenario() -> None:
        async with scene(tls=False) as at:
            reader, writer = await at.door.connect()
            writer.write(at.get("/", "Content-Length: 10", method="POST") + b"half")
            await writer.drain()
            writer.write_eof()
            await reader.read()
            writer.close()
            assert at.api.requests == []

    run(scenario)


def test_what_is_spliced_passes_as_it_is() -> None:
    async def scenario() -> None:
        async with scene(api_rules=[{"mode": Mode.SPLICE}], binding={"hosts": ("bound.test",)}) as at:
            with pytest.raises(ssl.SSLCertVerificationError):  # it is api.test's own certificate that comes
                await at.door.connect_tls("api.test")
            assert len(at.api.connections) <= 1
            while not at.door.decisions:
                await asyncio.sleep(0.01)
            assert [(noted.mode, noted.allowed) for noted in at.door.decisions] == [("splice", True)]

    run(scenario)
