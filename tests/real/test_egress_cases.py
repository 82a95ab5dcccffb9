"""What the egress gateway must withstand of a machine: denied, said why, and not a byte or a question goes out."""

import asyncio
import base64
import ssl
from ipaddress import ip_address

import pytest
from h2.errors import ErrorCodes
from tests.real.egress_scene import KEY, PLACEHOLDER, PROXY, SECRET, Scene, denied, scene
from tests.real.http2_client import headers, http2_client

from subclaw.core.policy import Mode, Rule
from subclaw.core.quota import Quota
from subclaw.core.secret import Place
from subclaw.egress.limits import Limits
from subclaw.testing.egress import run
from subclaw.testing.upstream import Connection, Seen, simple

LEAK = SECRET.encode()


def status(answer: bytes) -> int:
    """Return the status of the one answer there is."""
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    return int(answer.split(b" ", 2)[1])


async def refused(at: Scene, raw: bytes, *statuses: int, host: str | None = "api.test") -> bytes:
    """Send bytes that must be refused: nothing goes out, and it is noted."""
    answer = await at.door.talk(raw, host=host)
    assert status(answer) in statuses
    assert b'{"error": {"message": ' in answer
    assert LEAK not in answer
    assert at.api.connections == []
    assert at.names.questions == []
    assert at.reasons
    assert not any(noted.allowed for noted in at.door.decisions)
    return answer


# Who is asked for


def test_sni_of_one_host_and_host_of_another() -> None:
    async def scenario() -> None:
        async with scene() as at:
            answer = await refused(at, at.get(host=at.evil_host), 421)
            assert b"this connection is for api.test" in answer

    run(scenario)


def test_sni_of_one_host_and_authority_of_another() -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            answer = await client.get(headers(at.evil_host, authorization=f"Bearer {PLACEHOLDER}"))
            assert answer.status == 421
            assert at.api.connections == []
            assert at.reasons

    run(scenario)


def test_connect_for_one_host_and_sni_of_another() -> None:
    async def scenario() -> None:
        async with scene(port=PROXY[1], address=PROXY[0]) as at:
            for asked, named in ((at.api_host, "evil.test"), (at.api_host, "other.test")):
                answer = await through_proxy(at, asked, named, host=f"{named}:{at.api.port}")
                assert status(answer) == 403
                assert f"and its TLS names {named}".encode() in answer
                assert status(await through_proxy(at, asked, named, host=asked)) == 421
            denied_by_proxy = await at.door.talk(f"CONNECT {at.evil_host} HTTP/1.1\r\n\r\n".encode())
            assert status(denied_by_proxy) == 403
            assert at.api.connections == []
            assert len(at.reasons) == 5

    run(scenario)


def test_connect_and_sni_that_agree() -> None:
    async def scenario() -> None:
        async with scene(port=PROXY[1], address=PROXY[0]) as at:
            assert status(await through_proxy(at, at.api_host, "api.test", host=at.api_host)) == 200
            assert [seen.headers["authorization"] for seen in at.api.requests] == [f"Bearer {SECRET}"]

    run(scenario)


async def through_proxy(at: Scene, asked: str, named: str, *, host: str) -> bytes:
    """Ask the gateway as a proxy for a connection, and speak TLS and HTTP in it."""
    reader, writer = await at.door.connect()
    writer.write(f"CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n\r\n".encode())
    established = await reader.readuntil(b"\r\n\r\n")
    assert established.startswith(b"HTTP/1.1 200 ")
    context = at.door.trusting
    await writer.start_tls(context, server_hostname=named)
    writer.write(at.get(host=host))
    answer = b""
    while not answer.endswith((b"fine", b"}")):
        answer += await reader.read(65_536)
    writer.close()
    return answer


def test_http2_authority_and_two_host_fields() -> None:
    async def scenario() -> None:
        for first, second in (("api", "evil"), ("evil", "api"), ("api", "api")):
            async with scene() as at, http2_client(at.door, "api.test") as client:
                hosts = {"api": at.api_host, "evil": at.evil_host}
                fields = [*headers(at.api_host), ("host", hosts[first]), ("host", hosts[second])]
                assert (await client.get(fields)).status in (0, 400)
                assert at.api.connections == []
                assert client.over or at.reasons

    run(scenario)


@pytest.mark.parametrize("second", ["api", "evil"])
def test_http1_with_two_host_fields(second: str) -> None:
    async def scenario() -> None:
        async with scene() as at:
            host = at.api_host if second == "api" else at.evil_host
            await refused(at, at.get("/", f"Host: {host}"), 400)

    run(scenario)


@pytest.mark.parametrize("target", ["https://evil.test/", "https://api.test/", "http://api.test/", "evil.test:443"])
def test_absolute_form_inside_a_tunnel(target: str) -> None:
    async def scenario() -> None:
        async with scene() as at:
            await refused(at, at.get(target), 400)
        async with scene() as at, http2_client(at.door, "api.test") as client:
            assert (await client.get(headers(at.api_host, target))).status == 400
            assert at.api.connections == []

    run(scenario)


def test_a_second_request_on_a_connection_is_decided_anew() -> None:
    async def scenario() -> None:
        async with scene(api_rules=[{}, denied(paths=("/admin*",))]) as at:
            answer = await at.door.talk(at.get("/a") + at.get("/b") + at.get(host=at.evil_host), host="api.test")
            assert answer.count(b"HTTP/1.1 200") == 2
            assert answer.count(b"HTTP/1.1 421") == 1
            answer = await at.door.talk(at.get("/a") + at.get("/admin"), host="api.test")
            assert answer.count(b"HTTP/1.1 200") == 1
            assert answer.count(b"HTTP/1.1 403") == 1
            assert [seen.target for seen in at.api.requests] == ["/a", "/b", "/a"]

    run(scenario)


def test_a_second_stream_of_a_connection_is_decided_anew() -> None:
    async def scenario() -> None:
        async with (
            scene(api_rules=[{}, denied(paths=("/admin*",))]) as at,
            http2_client(at.door, "api.test") as client,
        ):
            assert (await client.get(headers(at.api_host, "/a"))).status == 200
            assert (await client.get(headers(at.evil_host, "/a"))).status == 421
            assert (await client.get(headers(at.api_host, "/admin"))).status == 403
            assert (await client.get(headers(at.api_host, "/b"))).status == 200
            assert [seen.target for seen in at.api.requests] == ["/a", "/b"]

    run(scenario)


# Requests that two parsers could read differently

BODY = b"0\r\n\r\n"
MALFORMED = {
    "CL and TE": "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "TE and CL": "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "xchunked": "Transfer-Encoding: xchunked",
    "vertical tab chunked": "Transfer-Encoding: \x0bchunked",
    "chunked, identity": "Transfer-Encoding: chunked, identity",
    "identity, chunked": "Transfer-Encoding: identity, chunked",
    "gzip, chunked": "Transfer-Encoding: gzip, chunked",
    "two TE": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "chunked in quotes": 'Transfer-Encoding: "chunked"',
    "differing CL": "Content-Length: 5\r\nContent-Length: 6",
    "equal CL": "Content-Length: 5\r\nContent-Length: 5",
    "listed CL": "Content-Length: 5, 5",
    "signed CL": "Content-Length: +5",
    "CL with an underscore": "Content-Length: 0_5",
    "hexadecimal CL": "Content-Length: 0x5",
    "space before the colon": "Transfer-Encoding : chunked",
    "tab before the colon": "Transfer-Encoding\t: chunked",
    "bare LF": "X: a\nTransfer-Encoding: chunked",
    "bare CR": "X: a\rTransfer-Encoding: chunked",
    "obs-fold": "X: a\r\n b: c",
    "obs-fold of TE": "Transfer-Encoding:\r\n chunked",
    "NUL in a value": "X: a\0b",
    "not ASCII in a name": "X\xe9: a",
    "Connection names Host": "Connection: host",
    "Connection names the length": "Connection: close, Content-Length\r\nContent-Length: 5",
    "Connection names the coding": "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
}


@pytest.mark.parametrize("lines", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_requests_reach_nobody(lines: str) -> None:
    async def scenario() -> None:
        async with scene() as at:
            head = at.get("/", method="POST").removesuffix(b"\r\n")
            await refused(at, head + lines.encode("latin-1") + b"\r\n\r\n" + BODY, 400)

    run(scenario)


MALFORMED_HTTP2 = {
    "two lengths": [("content-length", "4"), ("content-length", "5")],
    "equal lengths": [("content-length", "4"), ("content-length", "4")],
    "signed length": [("content-length", "+4")],
    "length with an underscore": [("content-length", "0_4")],
    "listed lengths": [("content-length", "4, 4")],
    "wrong length": [("content-length", "5")],
    "no length": [("content-length", "")],
    "coding": [("transfer-encoding", "chunked")],
    "connection": [("connection", "close")],
    "upgrade": [("upgrade", "h2c")],
    "capital letters": [("X-A", "b")],
    "line end in a value": [("x", "a\r\nHost: evil.test")],
    "line end in a name": [("x: a\r\nhost", "evil.test")],
    "colon in a name": [("x:y", "a")],
    "space in a name": [("x y", "a")],
    "empty name": [("", "a")],
    "NUL in a value": [("x", "a\0b")],
    "pseudo-header after others": [("x", "y"), (":path", "/admin")],
    "unknown pseudo-header": [(":x", "y")],
    "protocol": [(":protocol", "websocket")],
    "two authorities": [(":authority", "evil.test")],
    "two paths": [(":path", "/admin")],
    "two methods": [(":method", "DELETE")],
    "TE": [("te", "trailers, chunked")],
    "blank before a value": [("x", " a")],
    "blank after a value": [("x", "a ")],
    "tab after a value": [("x", "a\t")],
    "status": [(":status", "200")],
}
LENGTHS_HTTP2 = frozenset(name for name in MALFORMED_HTTP2 if "length" in name)
"""With those, the whole connection ends."""


@pytest.mark.parametrize("others", MALFORMED_HTTP2.values(), ids=MALFORMED_HTTP2.keys())
def test_malformed_requests_by_http2_reach_nobody(others: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            answer = await client.get([*headers(at.api_host, method="POST"), *others], b"abcd")
            assert answer.status in (0, 400)
            assert client.over or answer.status or answer.reset is not None
            assert at.api.connections == []

    run(scenario)


@pytest.mark.parametrize("name", sorted(MALFORMED_HTTP2.keys() - LENGTHS_HTTP2))
def test_a_malformed_request_by_http2_ends_no_other(name: str) -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            other = client.ask(headers(at.api_host, method="POST"), ends=False)
            answer = await client.get([*headers(at.api_host, method="POST"), *MALFORMED_HTTP2[name]])
            assert answer.status == 400
            assert b"error" in answer.body
            client.http.send_data(other, b"body", end_stream=True)
            assert (await client.answer(other)).status == 200
            assert [seen.body for seen in at.api.requests] == [b"body"]

    run(scenario)


def test_malformed_trailers_end_their_request_and_no_other() -> None:
    async def scenario() -> None:
        async with scene(mute=True) as at, http2_client(at.door, "api.test") as client:
            stream = client.ask(headers(at.api_host, method="POST"), ends=False)
            await client.upload(stream, 100_000, b"x" * 10_000, ends=False)
            client.http.send_headers(stream, [(":path", "/admin")], end_stream=True)
            assert (await client.answer(stream)).reset == ErrorCodes.PROTOCOL_ERROR
            assert (await client.get(headers(at.evil_host))).status == 421

    run(scenario)


HTTP2_REQUESTS = {
    "no path": [(":method", "GET"), (":scheme", "https"), (":authority", "{api}")],
    "empty path": [(":method", "GET"), (":scheme", "https"), (":authority", "{api}"), (":path", "")],
    "path without a slash": [(":method", "GET"), (":scheme", "https"), (":authority", "{api}"), (":path", "admin")],
    "asterisk": [(":method", "OPTIONS"), (":scheme", "https"), (":authority", "{api}"), (":path", "*")],
    "no authority": [(":method", "GET"), (":scheme", "https"), (":path", "/")],
    "no method": [(":scheme", "https"), (":authority", "{api}"), (":path", "/")],
    "no scheme": [(":method", "GET"), (":authority", "{api}"), (":path", "/")],
    "user in the authority": [(":method", "GET"), (":scheme", "https"), (":authority", "a@{api}"), (":path", "/")],
    "not ASCII": [(":method", "GET"), (":scheme", "https"), (":authority", "\xe9.test"), (":path", "/")],
    "line end": [(":method", "GET"), (":scheme", "https"), (":authority", "{api}"), (":path", "/ HTTP/1.1\r\nX: y")],
    "space in the path": [(":method", "GET"), (":scheme", "https"), (":authority", "{api}"), (":path", "/ HTTP/1.1")],
    "space in the method": [(":method", "GET /"), (":scheme", "https"), (":authority", "{api}"), (":path", "/")],
    "small letters": [(":method", "get"), (":scheme", "https"), (":authority", "{api}"), (":path", "/")],
    "CONNECT": [(":method", "CONNECT"), (":authority", "{api}")],
    "extended CONNECT": [
        *[(":method", "CONNECT"), (":protocol", "websocket")],
        *[(":scheme", "https"), (":authority", "{api}"), (":path", "/")],
    ],
    "TRACE": [(":method", "TRACE"), (":scheme", "https"), (":authority", "{api}"), (":path", "/")],
}


@pytest.mark.parametrize("fields", HTTP2_REQUESTS.values(), ids=HTTP2_REQUESTS.keys())
def test_odd_requests_by_http2_reach_nobody(fields: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        async with scene() as at, http2_client(at.door, "api.test") as client:
            raw = [(name, value.replace("{api}", at.api_host).encode("latin-1")) for name, value in fields]
            assert (await client.get(raw)).status in (0, 400)
            assert at.api.connections == []

    run(scenario)


def test_bare_line_feeds_everywhere() -> None:
    async def scenario() -> None:
        async with scene() as at:
            await refused(at, at.get().replace(b"\r\n", b"\n"), 400)

    run(scenario)


def test_a_request_hidden_in_a_body_stays_one() -> None:
    async def scenario() -> None:
        async with scene() as at:
            hidden = at.get("/hidden")
            first = at.get("/", f"Content-Length: {len(hidden)}", method="POST") + hidden
            chunked = at.get("/", "Transfer-Encoding: chunked", method="POST")
            second = chunked + b"%x\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(hidden), hidden)
            answer = await at.door.talk(first + second + at.get("/", "Connection: close"), host="api.test")
            assert answer.count(b"HTTP/1.1 200") == 3
            assert [seen.body for seen in at.api.requests] == [hidden, hidden, b""]
            assert b"x-trailer" not in at.api.received.lower()

    run(scenario)


PATHS = {
    "dot segments": "/public/../admin",
    "escaped dots": "/public/%2e%2e/admin",
    "half-escaped dots": "/public/.%2E/admin",
    "escaped slash": "/public%2f..%2fadmin",
    "twice escaped": "/public/%252e%252e/admin",
    "parameter": "/public/..;/admin",
    "escaped parameter": "/public/..%3b/admin",
    "backslash": "/public/..\\admin",
    "escaped backslash": "/public/..%5cadmin",
    "empty segment": "//admin",
    "escaped letters": "/%61dmin",
    "escaped NUL": "/admin%00",
    "escaped line end": "/public%0d%0aX:%20y",
    "overlong": "/public/%c0%ae%c0%ae/admin",
    "dot at the end": "/public/..",
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_rules_see_one_canonical_path(path: str) -> None:
    async def scenario() -> None:
        async with scene(api_rules=[{"paths": ("/public/*", "/%61*", "/public*")}, denied(paths=("/admin*",))]) as at:
            assert status(await at.ask(path)) == 403
            assert (await at.ask_http2(path)).status == 403
            assert at.api.connections == []
            assert len(at.reasons) == 2

    run(scenario)


def test_a_method_in_small_letters_is_no_way_round_a_rule() -> None:
    async def scenario() -> None:
        async with scene(api_rules=[{}, denied(methods=("DELETE",))]) as at:
            await refused(at, at.get(method="DELETE"), 403)
            await refused(at, at.get(method="delete"), 400)
            await refused(at, at.get(method="Delete"), 400)

    run(scenario)


def test_a_method_in_a_header_is_no_way_round_a_rule() -> None:
    async def scenario() -> None:
        async with scene(api_rules=[{}, denied(methods=("DELETE",))]) as at:
            assert status(await at.ask("/", "X-HTTP-Method-Override: DELETE", "X_HTTP_Method: DELETE", method="POST"))
            assert b"DELETE" not in at.api.received

    run(scenario)


# Changes of protocol


def test_h2c_by_upgrade_and_by_prior_knowledge() -> None:
    async def scenario() -> None:
        lines = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
        prior = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
        for tls in (True, False):
            async with scene(tls=tls) as at:
                host = "api.test" if tls else None
                await refused(at, at.get("/", *lines), 400, host=host)
                await refused(at, prior, 400, host=host)

    run(scenario)


def test_a_change_of_protocol_that_nobody_asked_for_ends_the_connection() -> None:
    async def switch(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + LEAK)

    async def scenario() -> None:
        async with scene(switch) as at:
            answer = await at.ask()
            assert status(answer) == 502
            assert LEAK not in answer
            assert (await at.ask_http2()).status == 502
            await asyncio.gather(*(connection.ended.wait() for connection in at.api.connections))

    run(scenario)


CONNECTS = {
    "NUL": "CONNECT api.test\0:{port} HTTP/1.1",
    "control character": "CONNECT api\x01.test:{port} HTTP/1.1",
    "escaped dot": "CONNECT api%2etest:{port} HTTP/1.1",
    "user": "CONNECT evil@api.test:{port} HTTP/1.1",
    "URL": "CONNECT https://api.test:{port}/ HTTP/1.1",
    "path": "CONNECT api.test:{port}/x HTTP/1.1",
    "oversized": f"CONNECT {'a' * 300}.test:{{port}} HTTP/1.1",
    "long label": f"CONNECT {'a' * 64}.test:{{port}} HTTP/1.1",
    "no port": "CONNECT api.test HTTP/1.1",
    "port 0": "CONNECT api.test:0 HTTP/1.1",
    "large port": "CONNECT api.test:65536 HTTP/1.1",
    "signed port": "CONNECT api.test:+443 HTTP/1.1",
    "address": "CONNECT 127.0.0.1:{port} HTTP/1.1",
    "IPv6": "CONNECT [::1]:{port} HTTP/1.1",
    "number": "CONNECT 2130706433:{port} HTTP/1.1",
    "single label": "CONNECT localhost:{port} HTTP/1.1",
    "underscore": "CONNECT _api.test:{port} HTTP/1.1",
    "not ASCII": "CONNECT \xe9.test:{port} HTTP/1.1",
    "two spaces": "CONNECT  api.test:{port} HTTP/1.1",
    "small letters": "connect api.test:{port} HTTP/1.1",
    "old": "CONNECT api.test:{port} HTTP/0.9",
    "two hosts": "CONNECT api.test:{port} HTTP/1.1\r\nHost: api.test:{port}\r\nHost: evil.test",
    "other host": "CONNECT api.test:{port} HTTP/1.1\r\nHost: evil.test:{port}",
    "folded": "CONNECT api.test:{port} HTTP/1.1\r\nHost: api.test:{port}\r\n x: y",
    "bare LF": "CONNECT api.test:{port} HTTP/1.1\nHost: api.test:{port}\n",
    "oversized head": "CONNECT api.test:{port} HTTP/1.1\r\nX: " + 20_000 * "a",
}


@pytest.mark.parametrize("head", CONNECTS.values(), ids=CONNECTS.keys())
def test_odd_connects_fail_closed(head: str) -> None:
    async def scenario() -> None:
        async with scene(port=PROXY[1], address=PROXY[0]) as at:
            raw = head.replace("{port}", str(at.api.port)).encode("latin-1")
            await refused(at, raw + b"\r\n\r\n", 400, 431, host=None)

    run(scenario)


def test_a_connect_within_a_tunnel() -> None:
    async def scenario() -> None:
        for host in ("evil.test:443", "{api}"):
            async with scene() as at:
                asked = host.replace("{api}", at.api_host)
                await refused(at, f"CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n\r\n".encode(), 400, 405)
            async with scene(port=PROXY[1], address=PROXY[0]) as at:
                asked = host.replace("{api}", at.api_host)
                connect = f"CONNECT {at.api_host} HTTP/1.1\r\nHost: {at.api_host}\r\n\r\n".encode()
                answer = await at.door.talk(connect + connect.replace(at.api_host.encode(), asked.encode()))
                assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 405 ")
                assert at.api.connections == []

    run(scenario)


@pytest.mark.parametrize(
    "lines",
    [("X: " + "a" * 65_536,), tuple(f"X-{number}: a" for number in range(101)), ("a" * 20_000 + ": b",)],
    ids=["a large header", "many headers", "a long name"],
)
def test_too_many_and_too_large_headers(lines: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with scene() as at:
            await refused(at, at.get("/", *lines), 431)
            await refused(at, at.get("/" + "a" * 20_000), 431)
        async with scene(tls=False, port=80) as at:
            await refused(at, at.get("/", *lines), 431, host=None)

    run(scenario)


# Where secrets go, and whether they come back


async def echo(seen: Seen, connection: Connection) -> None:
    """Give back all that came, in the headers and in the body, also in other forms."""
    value = seen.headers.get("authorization", "")
    raw = value.encode()
    body = "\n".join([seen.target, value, base64.b64encode(raw).decode(), raw.hex(), raw.hex().upper()])
    await connection.write(simple(body.encode(), f"x-echo: {value}", f"location: /?key={value.split()[-1:]}"))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS", "PROPFIND"])
def test_what_echoes_a_secret_is_blotted(method: str) -> None:
    async def scenario() -> None:
        async with scene(echo) as at:
            answer = await at.ask("/anything", method=method)
            assert status(answer) == 200
            again = await at.ask_http2("/anything", method)
            for text in (answer, bytes(again.body), repr(again.headers).encode()):
                assert b"[secret]" in text
                assert LEAK not in text
                assert LEAK.hex().encode() not in text.lower()
                assert base64.b64encode(LEAK)[3:-4] not in text
            assert [seen.headers["authorization"] for seen in at.api.requests] == [f"Bearer {SECRET}"] * 2

    run(scenario)


def test_trace_is_refused() -> None:
    async def scenario() -> None:
        async with scene(echo) as at:
            await refused(at, at.get(method="TRACE"), 405)

    run(scenario)


def test_basic_authentication_is_opened_and_closed() -> None:
    async def scenario() -> None:
        async with scene(echo, binding={"place": Place.BASIC, "name": "user"}) as at:
            good, other = (
                base64.b64encode(f"{user}:{PLACEHOLDER}".encode()).decode() for user in ("user", "other-user")
            )
            sent = base64.b64encode(f"user:{SECRET}".encode()).decode()
            request = at.get("/", "Connection: close").replace(KEY, f"Authorization: Basic {good}\r\n".encode())
            answer = await at.door.talk(request, host="api.test")
            assert at.api.requests[-1].headers["authorization"] == f"Basic {sent}"
            assert b"[secret]" in answer
            assert sent.encode()[8:-4] not in answer
            await at.door.talk(request.replace(good.encode(), other.encode()), host="api.test")
            assert at.api.requests[-1].headers["authorization"] == f"Basic {other}"

    run(scenario)


def test_a_placeholder_for_another_host_stays_one() -> None:
    async def scenario() -> None:
        open_rule = {"host": "api.test"}
        async with scene(echo, api_rules=[open_rule], binding={"hosts": ("bound.test",)}) as at:
            answer = await at.ask(f"/{PLACEHOLDER}?key={PLACEHOLDER}")
            assert PLACEHOLDER.encode() in answer
            assert LEAK not in at.api.received
            await at.ask_http2(f"/{PLACEHOLDER}?key={PLACEHOLDER}")
            assert LEAK not in at.api.received

    run(scenario)


def test_a_placeholder_for_a_host_that_is_denied_goes_nowhere() -> None:
    async def scenario() -> None:
        async with scene(rules=[Rule(host="evil.test", mode=Mode.DENY)]) as at:
            await refused(at, at.get(host=f"evil.test:{at.api.port}"), 403, host="evil.test")

    run(scenario)


def test_a_placeholder_elsewhere_than_where_it_belongs_stays_one() -> None:
    async def scenario() -> None:
        async with scene(echo) as at:
            body = f"key={PLACEHOLDER}"
            lines = (f"X-Key: {PLACEHOLDER}", f"Cookie: key={PLACEHOLDER}", f"Content-Length: {len(body)}")
            request = at.get(f"/{PLACEHOLDER}?authorization={PLACEHOLDER}", "Connection: close", *lines, method="POST")
            await at.door.talk(request.replace(KEY, b"") + body.encode(), host="api.test")
            assert LEAK not in at.api.received
            assert at.api.received.count(PLACEHOLDER.encode()) == 5

    run(scenario)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_takes_no_secret_along(code: int) -> None:
    async def scenario() -> None:
        where: list[str] = []

        async def redirect(seen: Seen, connection: Connection) -> None:
            location = f"https://{where[0]}/?key={seen.headers['authorization']}"
            await connection.write(simple(b"", f"location: {location}", status=f"{code} Elsewhere"))

        async with scene(redirect) as at:
            where.append(at.evil_host)
            answer = await at.ask()
            assert status(answer) == code
            location = next(line for line in answer.split(b"\r\n") if line.startswith(b"location: "))
            assert at.evil_host.encode() in location
            assert LEAK not in location
            assert (await at.ask_http2()).status == code
            followed = await at.door.talk(at.get(host=f"evil.test:{at.api.port}"), host="evil.test")
            assert status(followed) == 403
            assert len(at.api.requests) == 2

    run(scenario)


def test_cookies_for_the_holder_of_a_secret_stay_here() -> None:
    async def set_cookie(_: Seen, connection: Connection) -> None:
        await connection.write(simple(b"fine", "set-cookie: session=live"))

    async def scenario() -> None:
        async with scene(set_cookie) as at:
            assert b"session" not in await at.ask()
            assert b"set-cookie" not in (await at.ask_http2()).headers
            without = await at.door.talk(at.get("/", "Connection: close").replace(KEY, b""), host="api.test")
            assert b"set-cookie: session=live" in without

    run(scenario)


def test_a_secret_is_not_sent_in_the_clear() -> None:
    async def scenario() -> None:
        async with scene(tls=False) as at:
            answer = await at.door.talk(at.get("/", "Connection: close"))
            assert status(answer) == 200
            assert PLACEHOLDER.encode() in at.api.received
            assert LEAK not in at.api.received
        async with scene(tls=False, binding={"plain": True}) as at:
            answer = await at.door.talk(at.get("/", "Connection: close"))
            assert LEAK in at.api.received

    run(scenario)


def test_a_plain_host_that_is_not_allowed() -> None:
    async def scenario() -> None:
        async with scene(tls=False) as at:
            await refused(at, at.get(host="evil.test:80"), 421, host=None)
        async with scene(tls=False, port=80) as at:
            await refused(at, at.get(host="evil.test"), 403, host=None)
            await refused(at, at.get(host="evil.test:80"), 403, host=None)
        async with scene(tls=False, port=PROXY[1], address=PROXY[0]) as at:
            await refused(at, at.get("http://evil.test/", host="evil.test"), 403, host=None)
            await refused(at, at.get("http://evil.test/"), 400, host=None)
            await refused(at, at.get("https://evil.test/", host="evil.test"), 400, host=None)
            await refused(at, at.get(f"http://a@{at.api_host}/"), 400, host=None)

    run(scenario)


# Addresses

NUMBERS = [
    *("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "127.1", "169.254.169.254", "0x7f.1", "1.2.3.4."),
    *("100.100.100.200", "168.63.129.16", "224.0.0.1", "0", "localhost", "metadata"),
]


@pytest.mark.parametrize("host", NUMBERS)
def test_addresses_in_any_spelling_are_no_hosts(host: str) -> None:
    async def scenario() -> None:
        async with scene(tls=False, port=80, rules=[Rule(host=host, ports=(80,))]) as at:
            await refused(at, at.get(host=host), 400, host=None)
        async with scene() as at:
            await refused(at, at.get(host=f"{host}:{at.api.port}"), 400)
        async with scene() as at, http2_client(at.door, "api.test") as client:
            assert (await client.get(headers(f"{host}:{at.api.port}"))).status == 400
            assert at.api.connections == []

    run(scenario)


@pytest.mark.parametrize("host", ["[::1]", "[64:ff9b::a9fe:a9fe]:80", "[::ffff:7f00:1]", "[fe80::1%25eth0]", "[]", "["])
def test_ipv6_addresses_are_no_hosts(host: str) -> None:
    async def scenario() -> None:
        async with scene(tls=False, port=80) as at:
            await refused(at, at.get(host=host), 400, host=None)
        async with scene() as at, http2_client(at.door, "api.test") as client:
            assert (await client.get(headers(host))).status == 400
            assert at.api.connections == []

    run(scenario)


FORBIDDEN = [
    *("169.254.169.254", "168.63.129.16", "224.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "10.0.0.1"),
    *("64:ff9b::a9fe:a9fe", "::ffff:127.0.0.1", "fd00:ec2::254", "::1", "fe80::1"),
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_names_that_lead_to_forbidden_addresses(address: str) -> None:
    async def scenario() -> None:
        rule = Rule(host="open.test", ports=(80, 443))
        async with scene(port=443, rules=[rule]) as at:
            at.names.tell("open.test", address)
            answer = await at.door.talk(at.get(host="open.test"), host="open.test")
            assert status(answer) == 403
            assert b"leads to an address that must not be reached" in answer
            assert str(ip_address(address)).encode() not in answer
            assert at.reasons
            assert "must not be reached" in at.reasons[0]
        async with scene(port=443, rules=[Rule(host="open.test", mode=Mode.SPLICE)]) as at:
            at.names.tell("open.test", address)
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await at.door.connect_tls("open.test")
            assert "must not be reached" in at.reasons[0]

    run(scenario)


def test_one_forbidden_address_among_good_ones_and_a_name_bound_anew() -> None:
    async def scenario() -> None:
        async with scene(port=443, rules=[Rule(host="open.test")], limits=Limits(connect_s=0.2)) as at:
            at.names.tell("open.test", "127.0.0.1", "93.184.216.34")
            request = at.get("/", "Connection: close", host="open.test")
            assert status(await at.door.talk(request, host="open.test")) == 403
            at.names.tell("open.test", "127.0.0.1")
            assert status(await at.door.talk(request, host="open.test")) == 403
            assert at.api.connections == []

    run(scenario)


def test_only_the_address_that_was_judged_is_dialled() -> None:
    async def scenario() -> None:
        async with scene() as at:
            at.names.tell("api.test", "169.254.169.254")
            assert status(await at.ask()) == 200
            assert at.names.questions == []

    run(scenario)


def test_a_name_that_does_not_exist() -> None:
    async def scenario() -> None:
        async with scene(port=443, rules=[Rule(host="none.test")]) as at:
            answer = await at.door.talk(at.get("/", host="none.test"), host="none.test")
            assert status(answer) == 502
            assert b"none.test does not exist" in answer

    run(scenario)


def test_a_denied_request_resolves_nothing() -> None:
    async def scenario() -> None:
        rules = [Rule(host="*.open.test"), Rule(host="deep.open.test", mode=Mode.DENY)]
        async with scene(port=443, rules=rules, api_rules=[{}, denied(paths=("/x",))]) as at:
            for host in ("evil.test", "data.evil.test", "deep.open.test", "open.test", "xopen.test"):
                assert status(await at.door.talk(at.get(host=host), host=host)) == 403
            assert at.names.questions == []
            assert len(at.reasons) == 5

    run(scenario)


def test_tls_without_a_name_and_with_an_address() -> None:
    async def scenario() -> None:
        async with scene() as at:
            context = at.door.trusting
            context.check_hostname = False
            for name in (None, "127.0.0.1", "::1"):
                with pytest.raises((ConnectionError, ssl.SSLError)):
                    await asyncio.open_connection("127.0.0.1", at.door.port, ssl=context, server_hostname=name or "")
            assert at.api.connections == []
            assert len(at.reasons) == 3

    run(scenario)


# What is neither TLS nor HTTP


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x80" * 200,
        b"EHLO there\r\n",
        b"\x05\x01\x00",
    ],
    ids=["SSH", "PostgreSQL asks for TLS", "noise", "SMTP", "SOCKS"],
)
def test_other_protocols_are_denied(words: bytes) -> None:
    async def scenario() -> None:
        async with scene(port=443, limits=Limits(head_s=0.2)) as at:
            await refused(at, words, 400, 408, host=None)
            assert not (await at.door.talk(words)).startswith((b"S", b"N"))
        async with scene(limits=Limits(head_s=0.2)) as at:
            await refused(at, words, 400, 408)

    run(scenario)


def test_plain_http_on_the_port_for_tls() -> None:
    async def scenario() -> None:
        async with scene(port=443, rules=[Rule(host="open.test")]) as at:
            await refused(at, at.get(host="open.test:443"), 400, host=None)
            await refused(at, at.get(host="open.test"), 421, host=None)

    run(scenario)


# Quotas and streams


def test_an_upload_without_a_length_is_cut_at_the_quota() -> None:
    async def scenario() -> None:
        async with scene(quota=Quota(bytes_per_day=500_000)) as at:
            chunks = (b"2000\r\n" + b"x" * 0x2000 + b"\r\n") * 1_000
            cut = await at.door.talk(at.get("/", "Transfer-Encoding: chunked", method="POST") + chunks, host="api.test")
            assert cut == b"" or status(cut) == 429
            assert len(at.api.received) < 800_000
            assert at.api.requests == []
            answer = await at.ask()
            assert status(answer) == 429
            assert any("bytes a day" in reason for reason in at.reasons)

    run(scenario)


def test_an_upload_by_http2_is_cut_at_the_quota() -> None:
    async def scenario() -> None:
        async with scene(quota=Quota(bytes_per_day=500_000)) as at, http2_client(at.door, "api.test") as client:
            stream = client.ask(headers(at.api_host, method="POST"), ends=False)
            await client.flush()
            await client.upload(stream, 50_000_000, b"x" * 16_384)
            answer = await client.answer(stream)
            assert answer.status == 429
            assert len(at.api.received) < 1_800_000
            assert at.api.requests == []

    run(scenario)


@pytest.mark.parametrize("version", [1, 2])
def test_an_upload_that_takes_longer_than_a_silence_may(version: int) -> None:
    limits = Limits(idle_s=0.3, gathered_bytes=10)

    async def scenario() -> None:
        async with scene(limits=limits) as at:
            ends_at_s = asyncio.get_running_loop().time() + 3 * limits.idle_s
            if version == 1:
                reader, writer = await at.door.connect_tls("api.test")
                writer.write(at.get("/", "Transfer-Encoding: chunked", "Connection: close", method="POST"))
                while asyncio.get_running_loop().time() < ends_at_s:
                    writer.write(b"14\r\n" + b"x" * 20 + b"\r\n")
                    await asyncio.sleep(limits.idle_s / 10)  # what is slow has to be slow
                writer.write(b"0\r\n\r\n")
                assert status(await reader.read()) == 200
                writer.close()
            else:
                async with http2_client(at.door, "api.test") as client:
                    stream = client.ask(headers(at.api_host, method="POST"), ends=False)
                    while asyncio.get_running_loop().time() < ends_at_s:
                        await client.upload(stream, 20, b"x" * 20, ends=False)
                        await asyncio.sleep(limits.idle_s / 10)
                    client.http.end_stream(stream)
                    assert (await client.answer(stream)).status == 200
            assert len(at.api.requests[0].body) > 100

    run(scenario)


def test_an_upstream_that_says_nothing_to_a_whole_request() -> None:
    async def never(_: Seen, connection: Connection) -> None:
        while await connection.read():
            pass

    async def scenario() -> None:
        async with scene(never, limits=Limits(idle_s=0.2)) as at:
            assert status(await at.ask()) == 504
            assert (await at.ask_http2()).status == 504

    run(scenario)


def test_events_are_passed_on_one_by_one() -> None:
    async def scenario() -> None:
        proceed = asyncio.Queue[bytes](maxsize=10)

        async def events(_: Seen, connection: Connection) -> None:
            await connection.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            while event := await proceed.get():
                await connection.write(b"%x\r\n%s\r\n" % (len(event), event))
            await connection.write(b"0\r\n\r\n")

        async with scene(events) as at:
            reader, writer = await at.door.connect_tls("api.test")
            writer.write(at.get())
            await reader.readuntil(b"\r\n\r\n")
            for number in range(5):
                event = b"data: %d\n\n" % number
                await proceed.put(event)
                assert await reader.readuntil(event + b"\r\n")
            await proceed.put(b"")
            assert await reader.readuntil(b"0\r\n\r\n")
            writer.close()
        async with scene(events) as at, http2_client(at.door, "api.test") as client:
            stream = client.ask(headers(at.api_host))
            await client.flush()
            expected = b""
            for number in range(5):
                expected += b"data: %d\n\n" % number
                await proceed.put(b"data: %d\n\n" % number)
                while client.answers[stream].body != expected:
                    await client.take()
            await proceed.put(b"")
            assert (await client.answer(stream)).ended

    run(scenario)


# Certificates


def test_one_machines_authority_is_not_trusted_by_another() -> None:
    async def scenario() -> None:
        async with scene() as one, scene() as other:
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(
                    "127.0.0.1", one.door.port, ssl=other.door.trusting, server_hostname="api.test"
                )

    run(scenario)
