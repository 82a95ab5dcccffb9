"""Malformed and hostile requests at the gateway's door: refused with 4xx, closed, and not one byte goes upstream."""

from pathlib import Path

import pytest

from subclaw.core.upstream import Upstream
from subclaw.egress.limits import Limits
from subclaw.testing.egress import run, running_gateway, talk
from subclaw.testing.upstream import Connection, FakeUpstream, Seen, http_upstream, simple

SECRET = "sk-live-0123456789abcdef"
HOST = b"Host: egress\r\n"
GET = b"GET /api/v1 HTTP/1.1\r\n" + HOST
POST = b"POST /api/v1 HTTP/1.1\r\n" + HOST

MALFORMED = {
    "duplicate host": GET + b"Host: evil.test\r\n\r\n",
    "duplicate equal host": GET + HOST + b"\r\n",
    "no host": b"GET /api/v1 HTTP/1.1\r\n\r\n",
    "host with a path": b"GET /api/v1 HTTP/1.1\r\nHost: egress/../evil\r\n\r\n",
    "host with credentials": b"GET /api/v1 HTTP/1.1\r\nHost: a@evil\r\n\r\n",
    "absolute form": b"GET https://evil.test/api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute form of ourselves": b"GET http://egress/api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "length and coding": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "vertical tab chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "coding with a space": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "differing lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "equal lengths": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "listed lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "signed length": POST + b"Content-Length: +3\r\n\r\nabc",
    "negative length": POST + b"Content-Length: -3\r\n\r\nabc",
    "hexadecimal length": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "empty length": POST + b"Content-Length:\r\n\r\nabc",
    "huge length": POST + b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "bare LF in a header": GET + b"X: a\nY: b\r\n\r\n",
    "bare LF everywhere": b"GET /api/v1 HTTP/1.1\nHost: egress\n\n",
    "bare CR": GET + b"X: a\rY: b\r\n\r\n",
    "folded header": GET + b"X: a\r\n b\r\n\r\n",
    "folded first header": b"GET /api/v1 HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "space before the colon": GET + b"X : a\r\n\r\n",
    "header without a colon": GET + b"X\r\n\r\n",
    "header without a name": GET + b": a\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "NUL in a name": GET + b"X\0: a\r\n\r\n",
    "control character in a value": GET + b"X: a\x01b\r\n\r\n",
    "delete in a value": GET + b"X: a\x7fb\r\n\r\n",
    "not ASCII in a value": GET + b"X: \xff\r\n\r\n",
    "dot segments": b"GET /api/public/../admin HTTP/1.1\r\n" + HOST + b"\r\n",
    "escaped dots": b"GET /api/%2e%2e/admin HTTP/1.1\r\n" + HOST + b"\r\n",
    "escaped slash": b"GET /api/a%2f..%2fadmin HTTP/1.1\r\n" + HOST + b"\r\n",
    "twice escaped": b"GET /api/%252e%252e/admin HTTP/1.1\r\n" + HOST + b"\r\n",
    "escaped NUL": b"GET /api/a%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the path": b"GET /api/a\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "escaped line end": b"GET /api/a%0d%0aX:%20y HTTP/1.1\r\n" + HOST + b"\r\n",
    "backslash": b"GET /api\\..\\evil HTTP/1.1\r\n" + HOST + b"\r\n",
    "empty segment": b"GET //api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /api/v1#x HTTP/1.1\r\n" + HOST + b"\r\n",
    "not ASCII in the path": b"GET /api/\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "another upstream": b"GET /evil/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "method not allowed": b"DELETE /api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "method in small letters": b"get /api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TRACE": b"TRACE /api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
    "CONNECT to the upstream": b"CONNECT /api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "websocket upgrade": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c upgrade": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
    "h2c prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "HTTP/1.0": b"GET /api/v1 HTTP/1.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /api/v1\r\n\r\n",
    "two spaces": b"GET  /api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab": b"GET\t/api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "empty line first": b"\r\nGET /api/v1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "too many headers": GET + b"a: b\r\n" * 101 + b"\r\n",
    "head too large": GET + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
    "head without an end": GET + b"X: " + b"a" * 40_000,
    "chunk size of letters": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
    "chunk size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "chunk longer than its size": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "chunk with a bare LF": POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\nxxxxxxxxxxxxxxxxxx\r\n\r\n",
    "body too large": POST + b"Content-Length: 16777217\r\n\r\nabc",
}


async def _ok(_: Seen, connection: Connection) -> None:
    await connection.write(simple(b"ok"))


def _upstreams(api: FakeUpstream) -> list[Upstream]:
    return [Upstream(name="api", base_url=f"http://127.0.0.1:{api.port}/base", secret="key")]


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_refused_and_nothing_goes_upstream(raw: bytes, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with http_upstream(_ok) as api, running_gateway(tmp_path, _upstreams(api), {"key": SECRET}) as path:
            answer = await talk(path, raw)
            status = answer.split(b" ", 2)[1]
            assert answer.startswith(b"HTTP/1.1 4"), answer
            assert status in (b"400", b"403", b"405", b"413", b"431")
            assert answer.count(b"HTTP/1.1") == 1
            assert b'{"error": {"message": ' in answer
            assert b"connection: close" in answer
            assert SECRET.encode() not in answer
            assert api.connections == []

    run(scenario)


@pytest.mark.parametrize("second", [b"GET /evil/v1 HTTP/1.1\r\n", b"GET /api/../x HTTP/1.1\r\n"])
def test_each_request_of_a_connection_is_decided_anew(second: bytes, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with http_upstream(_ok) as api, running_gateway(tmp_path, _upstreams(api), {"key": SECRET}) as path:
            answer = await talk(path, GET + b"\r\n" + second + HOST + b"\r\n" + GET + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.count(b"HTTP/1.1 403 Forbidden") == 1
            assert len(api.requests) == 1

    run(scenario)


def test_a_malformed_request_after_a_good_one_is_told_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with http_upstream(_ok) as api, running_gateway(tmp_path, _upstreams(api), {"key": SECRET}) as path:
            answer = await talk(path, GET + b"\r\n" + GET + b"X: a\r\n b\r\n\r\n")
            assert answer.count(b"HTTP/1.1 200") == 1
            assert answer.count(b"HTTP/1.1 400") == 1
            assert len(api.requests) == 1

    run(scenario)


def test_a_hidden_second_request_stays_a_body(tmp_path: Path) -> None:
    hidden = b"GET /evil/v1 HTTP/1.1\r\nHost: evil\r\n\r\n"

    async def scenario() -> None:
        async with http_upstream(_ok) as api, running_gateway(tmp_path, _upstreams(api), {"key": SECRET}) as path:
            chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n"
            raw = POST + b"Content-Length: %d\r\n\r\n%s" % (len(hidden), hidden) + chunked % (len(hidden), hidden)
            answer = await talk(path, raw + b"GET /stop HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer.count(b"HTTP/1.1 200") == 2
            assert [seen.body for seen in api.requests] == [hidden, hidden]
            assert b"x-trailer" not in api.received.lower()

    run(scenario)


def test_a_slow_head_is_cut(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = Limits(head_s=0.1)
        async with (
            http_upstream(_ok) as api,
            running_gateway(tmp_path, _upstreams(api), {"key": SECRET}, limits=limits) as path,
        ):
            assert (await talk(path, GET)).startswith(b"HTTP/1.1 408")
            assert api.connections == []

    run(scenario)


ANSWERS = {
    "change of protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "encoded although not asked for": simple(b"xx", "content-encoding: gzip"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000,
    "endless interim answers": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "nothing": b"",
}


@pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS.keys())
def test_what_cannot_be_an_answer_is_a_bad_gateway(raw: bytes, tmp_path: Path) -> None:
    async def misbehave(_: Seen, connection: Connection) -> None:
        await connection.write(raw)
        connection.close()

    async def scenario() -> None:
        async with http_upstream(misbehave) as api, running_gateway(tmp_path, _upstreams(api), {"key": SECRET}) as path:
            answer = await talk(path, GET + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 502")
            assert len(api.connections) == 1

    run(scenario)
