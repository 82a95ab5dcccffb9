"""The gateway through real sockets: secrets in, answers streamed, both sides' deaths."""

import asyncio
import base64
import datetime
import ipaddress
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from subclaw.core.errors import Conflict, Invalid
from subclaw.core.upstream import Injection, Upstream
from subclaw.egress.control.client import gateway_client
from subclaw.egress.limits import Limits
from subclaw.testing.egress import DEADLINE_S, run, running_gateway, talk
from subclaw.testing.upstream import Connection, FakeUpstream, Seen, http_upstream, raw_upstream, simple

SECRET = "sk-live-0123456789abcdef"
PLACEHOLDER = "placeholder-of-the-key"
CREDENTIALS = {"authorization": f"Bearer {PLACEHOLDER}", "x-api-key": PLACEHOLDER, "cookie": PLACEHOLDER}


def _api(upstream: FakeUpstream, **fields: object) -> list[Upstream]:
    given = {"name": "api", "base_url": f"http://127.0.0.1:{upstream.port}/base", "secret": "key"} | fields
    return [Upstream(**given)]  # type: ignore[arg-type]


async def _ok(_: Seen, connection: Connection) -> None:
    await connection.write(simple(b"ok"))


async def _echo(seen: Seen, connection: Connection) -> None:
    await connection.write(simple(seen.body, f"x-echo: {seen.headers['authorization']}"))


def _authority(folder: Path, hostname: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate authority; return a server's context for `hostname` and a context that trusts it."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = datetime.datetime.now(datetime.UTC)

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    root = certificate(issuer, authority_key.public_key(), ca=True).sign(authority_key, hashes.SHA256())
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(hostname))
    except ValueError:
        name = x509.DNSName(hostname)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname)])
    leaf = (
        certificate(subject, key.public_key(), ca=False)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    chain = leaf.public_bytes(encoding) + key.private_bytes(encoding, private, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(chain)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=root.public_bytes(encoding).decode())


def test_the_secret_arrives_and_the_placeholder_never(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        async with (
            http_upstream(_ok) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
        ):
            response = await client.post("/api/v1/chat?q=private", json={"word": "private"}, headers=CREDENTIALS)
            assert response.text == "ok"
            [seen] = api.requests
            assert (seen.method, seen.target) == ("POST", "/base/v1/chat?q=private")
            assert seen.headers["authorization"] == f"Bearer {SECRET}"
            assert seen.headers["host"] == f"127.0.0.1:{api.port}"
            assert seen.headers["accept-encoding"] == "identity"
            assert seen.body == b'{"word":"private"}'
            assert PLACEHOLDER.encode() not in api.received

    run(scenario)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("subclaw.egress")]
    assert any("method=POST upstream=api status=200 sent_bytes=18 received_bytes=2 ms=" in line for line in lines)
    assert not any(word in line for line in lines for word in (SECRET, PLACEHOLDER, "private"))


def test_tls_upstream_with_a_named_header(tmp_path: Path) -> None:
    server, trusting = _authority(tmp_path, "127.0.0.1")

    async def scenario() -> None:
        async with http_upstream(_ok, tls=server) as api:
            upstreams = _api(
                api, base_url=f"https://127.0.0.1:{api.port}", injection=Injection.HEADER, header="X-Api-Key"
            )
            async with (
                running_gateway(tmp_path, upstreams, {"key": SECRET}, ssl_context=trusting) as path,
                gateway_client(path) as client,
            ):
                for _ in range(3):
                    assert (await client.get("/api/v1", headers=CREDENTIALS)).text == "ok"
            assert [seen.headers["x-api-key"] for seen in api.requests] == [SECRET] * 3
            assert "authorization" not in api.requests[0].headers
            assert PLACEHOLDER.encode() not in api.received
            assert len(api.connections) == 1

    run(scenario)


@pytest.mark.parametrize("hostname", ["127.0.0.1", "other.test"])
def test_a_certificate_that_is_not_trusted_or_not_for_this_host_gets_nothing(hostname: str, tmp_path: Path) -> None:
    server, trusting = _authority(tmp_path, hostname)
    context = ssl.create_default_context() if hostname == "127.0.0.1" else trusting

    async def scenario() -> None:
        async with http_upstream(_ok, tls=server) as api:
            upstreams = _api(api, base_url=f"https://127.0.0.1:{api.port}")
            async with (
                running_gateway(tmp_path, upstreams, {"key": SECRET}, ssl_context=context) as path,
                gateway_client(path) as client,
            ):
                response = await client.get("/api/v1")
                assert response.status_code == 502
                assert "certificate" in response.json()["error"]["message"]
            assert api.received == b""

    run(scenario)


def test_basic_and_what_is_reflected(tmp_path: Path) -> None:
    async def mirror(seen: Seen, connection: Connection) -> None:
        basic = seen.headers["authorization"].removeprefix("Basic ")
        words = f"{basic} {SECRET} {SECRET.encode().hex()}".encode()
        await connection.write(b"HTTP/1.1 200 OK\r\nx-basic: %s\r\ntransfer-encoding: chunked\r\n\r\n" % basic.encode())
        for start in range(0, len(words), 5):
            piece = words[start : start + 5]
            await connection.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await connection.write(b"0\r\n\r\n")

    async def scenario() -> None:
        async with http_upstream(mirror) as api:
            upstreams = _api(api, injection=Injection.BASIC, user="AC1")
            async with (
                running_gateway(tmp_path, upstreams, {"key": SECRET}) as path,
                gateway_client(path) as client,
            ):
                response = await client.post("/api/2010/Messages.json", data={"To": "+1"}, auth=("AC1", PLACEHOLDER))
            given = base64.b64decode(api.requests[0].headers["authorization"].removeprefix("Basic "))
            assert given == f"AC1:{SECRET}".encode()
            everything = response.text + str(response.headers)
            assert response.text.count("[secret]") == 3
            assert response.headers["x-basic"].count("[secret]") == 1
            for form in (SECRET, base64.b64encode(SECRET.encode()).decode()[2:-4], SECRET.encode().hex()):
                assert form not in everything

    run(scenario)


def test_redirects_come_back(tmp_path: Path) -> None:
    async def redirect(_: Seen, connection: Connection) -> None:
        await connection.write(simple(b"", "location: http://evil.test/", status="307 Temporary Redirect"))

    async def scenario() -> None:
        async with (
            http_upstream(redirect) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
        ):
            response = await client.post("/api/v1", content=b"x")
            assert (response.status_code, response.headers["location"]) == (307, "http://evil.test/")
            assert len(api.requests) == 1

    run(scenario)


def test_events_are_passed_on_one_by_one(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def events(_: Seen, connection: Connection) -> None:
        await connection.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            await go_on.wait()
            go_on.clear()
            await connection.write(b"9\r\ndata: %d\n\n\r\n" % number)
        await connection.write(b"0\r\n\r\n")

    async def scenario() -> None:
        async with (
            http_upstream(events) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
            client.stream("GET", "/api/events") as response,
        ):
            assert response.headers["content-type"] == "text/event-stream"  # before any event
            go_on.set()
            seen = []
            async for piece in response.aiter_bytes():
                seen.append(piece)
                go_on.set()
            assert seen == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]

    run(scenario)


def test_large_bodies_stream_both_ways(tmp_path: Path) -> None:
    body = bytes(range(256)) * 16_384  # 4 MiB

    async def scenario() -> None:
        async with (
            http_upstream(_echo) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
        ):

            async def pieces() -> object:
                for start in range(0, len(body), 100_000):
                    yield body[start : start + 100_000]

            assert (await client.post("/api/v1", content=body)).content == body
            assert (await client.post("/api/v1", content=pieces())).content == body  # type: ignore[arg-type]
            assert [len(seen.body) for seen in api.requests] == [len(body)] * 2
            assert api.requests[1].headers["transfer-encoding"] == "chunked"
            assert len(api.connections) == 1

    run(scenario)


def test_a_chunked_body_past_the_limit_is_cut(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = Limits(body_bytes=1_000_000)
        async with (
            http_upstream(_ok) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}, limits=limits) as path,
        ):
            chunk = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
            head = b"POST /api/v1 HTTP/1.1\r\nHost: egress\r\nTransfer-Encoding: chunked\r\n\r\n"
            answer = await talk(path, head + chunk * 40 + b"0\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 413")
            assert api.requests == []
            assert len(api.received) <= 1_000_000 + 1_000
            await asyncio.wait_for(api.connections[0].ended.wait(), DEADLINE_S)

    run(scenario)


def test_a_stalled_reader_stops_the_writer(tmp_path: Path) -> None:
    """Neither an upstream that does not read nor a client that does not read fills the gateway's memory."""
    written = 0

    async def flood(_: Seen, connection: Connection) -> None:
        nonlocal written
        piece = b"x" * 65_536
        await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(piece) * 1_000))
        for _part in range(1_000):
            await connection.write(piece)
            written += len(piece)

    async def scenario() -> None:
        limits = Limits(idle_s=0.3)
        async with (
            http_upstream(flood) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}, limits=limits) as path,
        ):
            _, writer = await asyncio.open_unix_connection(path, limit=1_024)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /api/v1 HTTP/1.1\r\nHost: egress\r\n\r\n")
            await _until(lambda: bool(api.connections))
            await asyncio.wait_for(_drained(api.connections[0]), DEADLINE_S)
            assert 0 < written < 32 * 1024 * 1024
            writer.close()

    run(scenario)


def test_an_early_answer_ends_the_upload(tmp_path: Path) -> None:
    async def impatient(connection: Connection) -> None:
        await connection.read()
        await connection.write(simple(b"no", "connection: close", status="413 Content Too Large"))
        await connection.ended.wait()

    async def scenario() -> None:
        async with raw_upstream(impatient) as api, running_gateway(tmp_path, _api(api), {"key": SECRET}) as path:
            head = b"POST /api/v1 HTTP/1.1\r\nHost: egress\r\nContent-Length: 10000000\r\n\r\n"
            answer = await talk(path, head + b"x" * 200_000)  # and the client waits with the rest
            assert answer.startswith(b"HTTP/1.1 413")
            assert answer.endswith(b"\r\n\r\nno")

    run(scenario)


def test_a_client_that_goes_away_ends_the_call(tmp_path: Path) -> None:
    async def silent(connection: Connection) -> None:
        while await connection.read():
            pass

    async def scenario() -> None:
        async with raw_upstream(silent) as api, running_gateway(tmp_path, _api(api), {"key": SECRET}) as path:
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /api/v1 HTTP/1.1\r\nHost: egress\r\n\r\n")
            await _until(lambda: b"\r\n\r\n" in api.received)
            assert not api.connections[0].ended.is_set()
            writer.close()
            await asyncio.wait_for(api.connections[0].ended.wait(), DEADLINE_S)

    run(scenario)


@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
@pytest.mark.parametrize("abort", [True, False])
def test_an_answer_that_breaks_off_looks_like_one(beginning: bytes, abort: bool, tmp_path: Path) -> None:
    read = asyncio.Event()

    async def dies(_: Seen, connection: Connection) -> None:
        await connection.write(beginning)
        await read.wait()
        (connection.abort if abort else connection.close)()

    async def scenario() -> None:
        async with (
            http_upstream(dies) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
            client.stream("GET", "/api/v1") as response,
        ):
            assert response.status_code == 200
            pieces = response.aiter_raw()
            assert await anext(pieces) == b"half"
            read.set()
            with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
                await anext(pieces)

    run(scenario)


@pytest.mark.parametrize(("method", "status", "connections"), [("GET", 200, 2), ("POST", 502, 1)])
def test_a_dead_kept_connection_is_replaced_only_where_it_is_safe(
    method: str, status: int, connections: int, tmp_path: Path
) -> None:
    async def one_each(connection: Connection) -> None:
        await connection.read()
        await connection.write(simple(b"ok"))
        if len(api_holder[0].connections) == 1:
            await connection.read()  # takes the second request, and dies without an answer
            connection.abort()
        else:
            await connection.read()

    api_holder: list[FakeUpstream] = []

    async def scenario() -> None:
        async with raw_upstream(one_each) as api, running_gateway(tmp_path, _api(api), {"key": SECRET}) as path:
            api_holder.append(api)
            async with gateway_client(path) as client:
                assert (await client.get("/api/v1")).status_code == 200
                response = await client.request(method, "/api/v1", content=b"x" if method == "POST" else None)
                assert response.status_code == status
                assert len(api.connections) == connections

    run(scenario)


def test_a_connection_that_the_upstream_closed_is_not_used(tmp_path: Path) -> None:
    async def one_each(connection: Connection) -> None:
        await connection.read()
        await connection.write(simple(b"ok"))
        connection.close()

    async def scenario() -> None:
        async with (
            raw_upstream(one_each) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
        ):
            for count in range(1, 4):
                assert (await client.post("/api/v1", content=b"x")).status_code == 200
                await asyncio.wait_for(_drained(api.connections[-1]), DEADLINE_S)
                assert len(api.connections) == count

    run(scenario)


def test_bytes_that_nobody_asked_for_do_not_become_an_answer(tmp_path: Path) -> None:
    async def pushy(_: Seen, connection: Connection) -> None:
        await connection.write(simple(b"first") + simple(b"poison"))

    async def scenario() -> None:
        async with (
            http_upstream(pushy) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
        ):
            for _ in range(3):
                assert (await client.get("/api/v1")).text == "first"
            assert len(api.connections) == 3

    run(scenario)


def test_interim_answers_are_passed_over_and_expectations_met(tmp_path: Path) -> None:
    async def hints(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + simple(b"ok", "connection: close"))
        connection.close()

    async def scenario() -> None:
        async with http_upstream(hints) as api, running_gateway(tmp_path, _api(api), {"key": SECRET}) as path:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(
                b"POST /api/v1 HTTP/1.1\r\nHost: egress\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
                b"Connection: close\r\n\r\n"
            )
            async with asyncio.timeout(DEADLINE_S):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
                assert api.connections == []
                writer.write(b"hi")
                rest = await reader.read()
            assert rest.startswith(b"HTTP/1.1 200")
            assert api.requests[0].body == b"hi"
            assert "expect" not in api.requests[0].headers
            writer.close()

    run(scenario)


def test_head_and_empty_answers(tmp_path: Path) -> None:
    async def empty(seen: Seen, connection: Connection) -> None:
        if seen.method == "HEAD":
            await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        else:
            await connection.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def scenario() -> None:
        async with http_upstream(empty) as api:
            upstreams = _api(api, methods=("HEAD", "DELETE"))
            async with (
                running_gateway(tmp_path, upstreams, {"key": SECRET}) as path,
                gateway_client(path) as client,
            ):
                for _ in range(2):
                    assert (await client.head("/api/v1")).headers["content-length"] == "5"
                    assert (await client.delete("/api/v1")).status_code == 204
            assert len(api.connections) == 1

    run(scenario)


def test_an_answer_that_ends_with_its_connection(tmp_path: Path) -> None:
    async def old(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.0 200 OK\r\n\r\nold")
        connection.close()

    async def scenario() -> None:
        async with (
            http_upstream(old) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}) as path,
            gateway_client(path) as client,
        ):
            for _ in range(2):
                response = await client.get("/api/v1")
                assert (response.text, response.headers["transfer-encoding"]) == ("old", "chunked")

    run(scenario)


def test_upstreams_that_are_down_or_silent(tmp_path: Path) -> None:
    async def silent(connection: Connection) -> None:
        while await connection.read():
            pass

    async def scenario() -> None:
        async with raw_upstream(silent) as api:
            pass
        async with (
            raw_upstream(silent) as mute,
            running_gateway(
                tmp_path,
                [*_api(api), *_api(mute, name="mute")],
                {"key": SECRET},
                limits=Limits(idle_s=0.2),
            ) as path,
            gateway_client(path) as client,
        ):
            assert (await client.get("/api/v1")).status_code == 502
            assert (await client.get("/mute/v1")).status_code == 504
            await asyncio.wait_for(mute.connections[0].ended.wait(), DEADLINE_S)

    run(scenario)


def test_a_secret_that_is_not_set_is_said_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            http_upstream(_ok) as api,
            running_gateway(tmp_path, _api(api), {}) as path,
            gateway_client(path) as client,
        ):
            response = await client.get("/api/v1")
            assert response.status_code == 403
            assert response.json() == {"error": {"message": "There is no secret key."}}
            assert api.connections == []

    run(scenario)


def test_too_many_connections_are_turned_away(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            http_upstream(_ok) as api,
            running_gateway(tmp_path, _api(api), {"key": SECRET}, limits=Limits(connections=2)) as path,
        ):
            request = b"GET /api/v1 HTTP/1.1\r\nHost: egress\r\n\r\n"
            held = [await asyncio.open_unix_connection(path) for _ in range(2)]
            for reader, writer in held:
                writer.write(request)
                assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            assert (await talk(path, request)).startswith(b"HTTP/1.1 503")
            for _, writer in held:
                writer.close()

    run(scenario)


def test_the_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with http_upstream(_ok) as api:
            for _ in range(2):
                async with running_gateway(tmp_path, _api(api), {"key": SECRET}) as path:
                    assert path.stat().st_mode & 0o777 == 0o660
                    with pytest.raises(ExceptionGroup) as caught:
                        async with running_gateway(tmp_path, _api(api), {"key": SECRET}):
                            pass
                    assert caught.group_contains(Conflict)
                    assert path.is_socket()
                assert not path.exists()
            with pytest.raises(ExceptionGroup) as caught:
                async with running_gateway(tmp_path, _api(api) * 2, {"key": SECRET}):
                    pass
            assert caught.group_contains(Invalid)

    run(scenario)


async def _drained(connection: Connection) -> None:
    while await connection.read():
        pass


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)
