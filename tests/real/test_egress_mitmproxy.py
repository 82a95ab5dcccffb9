"""Ordinary traffic arrives through the gateway as it does through mitmproxy, which changes nothing that it need not.

Each case goes both ways, out of the same client and to the same upstream, and what both sides got is compared. These
differences are meant, and are taken out first (`_sent`, `_answered`):
- Headers that end at a hop (RFC 9110, section 7.6.1): mitmproxy passes some of them on; the gateway none.
- Where chunks begin and end, and how `Transfer-Encoding` is written: each hop's own affair (RFC 9112, section 7.1).
- The words after a status: clients must not go by them (RFC 9112, section 4), and HTTP/2 has none.
- `Transfer-Encoding` and the case of names, with a client that speaks HTTP/2, where there is neither.
- Where among the headers the cookies stand that came by HTTP/2 in several (RFC 9113, section 8.2.3).
- An answer that has no length and ends with its connection is sent on in chunks by the gateway.
"""

import asyncio
import gzip
import json
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded
from tests.real.mitmdump import running_mitmdump

from subclaw.egress.http.headers import HOP_BY_HOP
from subclaw.testing.egress_machine import access_of, machine_door, pinned, upstream_authority

HOST = "api.example.test"
CASE_LIMIT_S = 20
LARGE = bytes(range(256)) * 8_192
EVENTS = tuple(b"event: word\ndata: {n}\n\n".replace(b"{n}", b"%d" % n) for n in range(20))

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, kw_only=True)
class Message:
    """A request or an answer as it came out of the connection; its body without chunks."""

    first: bytes
    headers: Headers
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Requests of one connection, and the upstream's answers to them, in pieces that it writes one by one."""

    requests: tuple[bytes, ...]
    answers: tuple[tuple[bytes, ...], ...]
    closes: bool = False


@dataclass(kw_only=True)
class Outcome:
    """What both sides got of a case."""

    sent: list[Message] = field(default_factory=list)
    answered: list[Message] = field(default_factory=list)


def _request(line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{line} HTTP/1.1", f"Host: {HOST}:PORT", "User-Agent: test/1.0", "Accept: */*", *headers]
    if body and not any(header.startswith("Transfer-Encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _answer(status: str, *headers: str, body: bytes | None = b"ok") -> tuple[bytes, ...]:
    lines = [f"HTTP/1.1 {status}", "Server: Test/1.0", "Date: Mon, 02 Jan 2006 15:04:05 GMT", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""),)


def _case(request: bytes, *answer: bytes, closes: bool = False) -> Case:
    return Case(requests=(request,), answers=(answer or _answer("200 OK"),), closes=closes)


_MULTIPART = (
    b'--edge\r\nContent-Disposition: form-data; name="word"\r\n\r\n\xc3\xa4 b\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + LARGE[:3_000] + b"\r\n--edge--\r\n"
)
_IN_CHUNKS = _answer("200 OK", "Transfer-Encoding: chunked", body=None)
_JSON = json.dumps({"words": ["a", "ä", None], "n": 1.5}).encode()
_GZIP = gzip.compress(b"words " * 500, mtime=0)
_ODD_PATH = "/a-b._~!$&'()*+,=:@/%E2%82%AC/%41"
_ODD_QUERY = "q=a+b&&x==y&z&%20=%0A&arr[]=1&p=/../x?y&json={%22a%22:[1,2]}&s=;'()*!|^`<>\"\\"

CASES = {
    "get": _case(_request("GET /v1/models")),
    "get the root": _case(_request("GET /")),
    "head": _case(_request("HEAD /v1/file"), _answer("200 OK", "Content-Length: 12345", body=None)[0]),
    "delete": _case(_request("DELETE /v1/things/7"), *_answer("204 No Content", body=None)),
    "delete with a body": _case(_request("DELETE /v1/things", "Content-Type: application/json", body=_JSON)),
    "options": _case(_request("OPTIONS /v1/things", "Origin: https://a.test"), *_answer("200 OK", "Allow: GET")),
    "a method of webdav": _case(_request("PROPFIND /dav/", "Depth: 1"), *_answer("207 Multi-Status")),
    "post json": _case(_request("POST /v1/chat", "Content-Type: application/json", body=_JSON)),
    "post nothing": _case(_request("POST /v1/chat", "Content-Length: 0")),
    "post a form": _case(
        _request("POST /form", "Content-Type: application/x-www-form-urlencoded", body=b"a=1&b=%C3%A4+c&b=2&d")
    ),
    "post multipart": _case(
        _request("POST /files", "Content-Type: multipart/form-data; boundary=edge", body=_MULTIPART)
    ),
    "patch": _case(_request("PATCH /v1/things/7", "Content-Type: application/merge-patch+json", body=_JSON)),
    "put a large body": _case(_request("PUT /files/large", "Content-Type: application/octet-stream", body=LARGE)),
    "post in chunks": _case(_request("POST /up", "Transfer-Encoding: chunked", body=_chunks(b"a", b"bc" * 900, _JSON))),
    "post a large body in chunks": _case(
        _request("POST /up", "Transfer-Encoding: chunked", body=_chunks(*[LARGE[n : n + 9_999] for n in range(5)] * 40))
    ),
    "post no chunk at all": _case(_request("POST /up", "Transfer-Encoding: chunked", body=_chunks())),
    "expect": _case(_request("PUT /up", "Expect: 100-continue", body=LARGE[:5_000])),
    "odd characters in the target": _case(_request(f"GET {_ODD_PATH}?{_ODD_QUERY}")),
    "a path with two meanings": _case(_request("GET /a//b/./c/../d/%2e%2e/e;v=1/%2F")),
    "an empty query": _case(_request("GET /a?")),
    "a long target": _case(_request("GET /" + "a" * 4_000 + "?" + "b" * 4_000)),
    "cookies in one header": _case(_request("GET /", 'Cookie: a=1; b=2; c="d e"')),
    "cookies in several headers": _case(_request("GET /", "Cookie: a=1", "Cookie: b=2", "X: y", "Cookie: c=3")),
    "repeated headers": _case(
        _request("GET /", "X-Tag: one", "x-tag: two", "X-TAG: one", "X-Empty:", "X-Odd: a,,b ;c")
    ),
    "authorization": _case(_request("GET /", "Authorization: Bearer abc.def-ghi", "X-Api-Key: k")),
    "range": _case(
        _request("GET /file", "Range: bytes=2-5", 'If-Range: "e"'),
        *_answer("206 Partial Content", "Content-Range: bytes 2-5/10", 'ETag: "e"', body=b"cdef"),
    ),
    "not modified": _case(
        _request("GET /file", 'If-None-Match: "e"'), *_answer("304 Not Modified", 'ETag: "e"', body=None)
    ),
    "not modified, with a length": _case(
        _request("GET /file", 'If-None-Match: "e"'), *_answer("304 Not Modified", "Content-Length: 10", body=None)
    ),
    "redirect": _case(
        _request("GET /old"), *_answer("302 Found", "Location: https://elsewhere.test/new?x=%20y", body=b"")
    ),
    "redirect of a post": _case(
        _request("POST /old", body=b"words"), *_answer("307 Temporary Redirect", "Location: /new", body=b"see there")
    ),
    "not found": _case(_request("GET /none"), *_answer("404 Not Found", "Content-Type: text/plain", body=b"no")),
    "too many requests": _case(_request("GET /"), *_answer("429 Too Many Requests", "Retry-After: 3", body=b"")),
    "failure": _case(_request("GET /"), *_answer("503 Service Unavailable", "Retry-After: 3", body=b"later")),
    "an unknown status": _case(_request("GET /"), *_answer("299 Fancy", body=b"fancy")),
    "several cookies set": _case(
        _request("GET /login"),
        *_answer("200 OK", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; HttpOnly", "Vary: Cookie"),
    ),
    "an answer in chunks": _case(_request("GET /"), _IN_CHUNKS[0] + _chunks(b"a", b"bc" * 900)),
    "a large answer": _case(_request("GET /large"), *_answer("200 OK", "Content-Type: image/png", body=LARGE)),
    "a large answer in chunks": _case(_request("GET /large"), _IN_CHUNKS[0] + _chunks(*[LARGE[:70_000]] * 20)),
    "events": _case(
        _request("GET /events", "Accept: text/event-stream"),
        _answer("200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", body=None)[0],
        *(b"%x\r\n%s\r\n" % (len(event), event) for event in EVENTS),
        b"0\r\n\r\n",
    ),
    "gzip": _case(
        _request("GET /", "Accept-Encoding: gzip, br"),
        *_answer("200 OK", "Content-Encoding: gzip", "Content-Type: text/plain", body=_GZIP),
    ),
    "an answer that ends with its connection": _case(
        _request("GET /"), *_answer("200 OK", "Connection: close", body=None), b"until ", b"the end", closes=True
    ),
    "letters beyond ASCII in an answer's header": _case(_request("GET /"), *_answer("200 OK", "X-Name: caf\xe9")),
    "a connection that is used again": Case(
        requests=(
            _request("GET /one"),
            _request("POST /two", "Content-Type: application/json", body=_JSON),
            _request("POST /three", "Transfer-Encoding: chunked", body=_chunks(b"abc", b"d")),
            _request("HEAD /four"),
            _request("GET /five"),
        ),
        answers=(
            _answer("200 OK", body=b"one"),
            (_IN_CHUNKS[0] + _chunks(b"two"),),
            _answer("201 Created", body=b"three"),
            _answer("200 OK", "Content-Length: 4", body=None),
            _answer("200 OK", body=b"five"),
        ),
    ),
}


def _message(head: bytes, body: bytes) -> Message:
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    pairs = (line.partition(b":")[::2] for line in lines)
    return Message(first=first, headers=tuple((name, value.strip(b" \t")) for name, value in pairs), body=body)


async def _read(reader: asyncio.StreamReader, *, empty: bool, until_end: bool) -> Message:
    """Read a message. `empty` says that it has no body whatever its head says."""
    message = _message(await reader.readuntil(b"\r\n\r\n"), b"")
    lengths = message.values(b"content-length")
    if empty:
        return message
    if message.values(b"transfer-encoding"):
        return replace(message, body=await _dechunked(reader))
    if lengths:
        return replace(message, body=await reader.readexactly(int(lengths[0])))
    return replace(message, body=await reader.read()) if until_end else message


async def _dechunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readexactly(2) == b"\r\n"
    return bytes(body)


@dataclass(kw_only=True)
class Upstream:
    """The host outside: answers the case that is set, and keeps what it got."""

    case: Case = CASES["get"]
    outcome: Outcome = field(default_factory=Outcome)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await _read(reader, empty=False, until_end=False)
                self.outcome.sent.append(request)
                for piece in self.case.answers[len(self.outcome.sent) - 1]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.case.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the proxy has gone
        finally:
            writer.close()


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to the upstream: a proxy's port, and the authority of the certificates that it shows."""

    port: int
    authority: str

    async def connect(self, alpn: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cadata=self.authority)
        context.set_alpn_protocols([alpn])
        connected = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=HOST)
        assert connected[1].get_extra_info("ssl_object").selected_alpn_protocol() == alpn
        return connected


async def _by_http1(way: Way, case: Case, port: int) -> list[Message]:
    reader, writer = await way.connect("http/1.1")
    answers = []
    try:
        for request in case.requests:
            head, end, body = request.replace(b":PORT", b":%d" % port, 1).partition(b"\r\n\r\n")
            writer.write(head + end)
            if b"Expect:" in head:
                answers.append(await _read(reader, empty=True, until_end=False))
            writer.write(body)
            await writer.drain()
            answers.append(await _last_answer(reader, request))
    finally:
        writer.close()
    return answers


async def _last_answer(reader: asyncio.StreamReader, request: bytes) -> Message:
    """Read the answer that is not interim."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        empty = request.startswith(b"HEAD ") or head[9:12] in (b"204", b"304")
        if head[9:10] != b"1":
            break
    message = _message(head, b"")
    if empty:
        return message
    if message.values(b"transfer-encoding"):
        return replace(message, body=await _dechunked(reader))
    lengths = message.values(b"content-length")
    return replace(message, body=await (reader.readexactly(int(lengths[0])) if lengths else reader.read()))


async def _by_http2(way: Way, case: Case, port: int) -> list[Message]:
    """Send a case's requests by HTTP/2, one after the other."""
    reader, writer = await way.connect("h2")
    http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    http.initiate_connection()
    try:
        return [await _stream(http, reader, writer, request, port) for request in case.requests]
    finally:
        writer.close()


async def _stream(
    http: H2Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, port: int
) -> Message:
    head, end, body = request.partition(b"\r\n\r\n")
    message = _message(head + end, b"")
    method, target, _ = message.first.split(b" ")
    kept = [(name.lower(), value) for name, value in message.headers if name.lower() not in {b"host", *HOP_BY_HOP}]
    pseudo = {b":method": method, b":scheme": b"https", b":authority": f"{HOST}:{port}".encode(), b":path": target}
    if message.values(b"transfer-encoding"):
        chunks = asyncio.StreamReader()
        chunks.feed_data(body)
        body = await _dechunked(chunks)
    stream_id = http.get_next_available_stream_id()
    http.send_headers(stream_id, [*pseudo.items(), *kept], end_stream=not body)
    status, received, ended = b"", bytearray(), False
    headers: Headers = ()
    while not ended:
        while body and (room := min(http.local_flow_control_window(stream_id), http.max_outbound_frame_size)) > 0:
            piece, body = body[:room], body[room:]
            http.send_data(stream_id, piece, end_stream=not body)
        writer.write(http.data_to_send())
        data = await reader.read(65_536)
        assert data, "the connection ended"
        for event in http.receive_data(data):
            if isinstance(event, ResponseReceived):
                fields = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
                status = dict(fields)[b":status"]
                headers = tuple(pair for pair in fields if not pair[0].startswith(b":"))
            elif isinstance(event, DataReceived):
                received += event.data
                http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                ended = True
    writer.write(http.data_to_send())
    return Message(first=b"HTTP/2 " + status, headers=headers, body=bytes(received))


HTTP_1, HTTP_2 = "http/1.1", "h2"
_BY = {HTTP_1: _by_http1, HTTP_2: _by_http2}
NOT_OF_HTTP_2 = {
    "expect",  # its clients need not wait before a body
    "letters beyond ASCII in an answer's header",  # not all of its clients read them
    # mitmproxy sends on without any framing what came by HTTP/2 without a length.
    *(name for name, case in CASES.items() if any(b"Transfer-Encoding" in request for request in case.requests)),
}
ALL = [(protocol, name) for protocol in _BY for name in CASES if protocol == HTTP_1 or name not in NOT_OF_HTTP_2]

Outcomes = dict[tuple[str, str, str], Outcome | Exception]


async def _all_outcomes(folder: Path) -> Outcomes:
    outside = upstream_authority()
    (folder / "upstream.pem").write_text(outside.pem)
    (folder / "mitmproxy").mkdir()
    context = outside.context(HOST)
    context.set_alpn_protocols(["http/1.1"])
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=context)
    upstream.port = server.sockets[0].getsockname()[1]
    found: Outcomes = {}
    with running_mitmdump(folder / "mitmproxy", upstream.port, folder / "upstream.pem") as mitmdump:
        async with machine_door(access_of([pinned(HOST, upstream.port)], {}), outside, upstream.port) as door:
            ways = {
                "gateway": Way(port=door.port, authority=door.machine.authority.pem),
                "mitmproxy": Way(port=mitmdump.port, authority=mitmdump.authority.read_text()),
            }
            for way, (protocol, name) in ((way, each) for each in ALL for way in ways):
                upstream.case, upstream.outcome = CASES[name], Outcome()
                try:
                    async with asyncio.timeout(CASE_LIMIT_S):
                        upstream.outcome.answered = await _BY[protocol](ways[way], CASES[name], upstream.port)
                    found[way, protocol, name] = upstream.outcome
                except Exception as error:  # the others shall be compared nevertheless
                    found[way, protocol, name] = error
    server.close()
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Return what came of every case on both ways."""
    return uvloop.run(_all_outcomes(tmp_path_factory.mktemp("mitmproxy")))


def _outcome(outcomes: Outcomes, way: str, protocol: str, name: str) -> Outcome:
    found = outcomes[way, protocol, name]
    if isinstance(found, Exception):
        raise AssertionError(f"by {way}: {found!r}") from found
    return found


def _sent(message: Message, protocol: str) -> Message:
    return replace(message, headers=_without_hop(message.headers, protocol))


def _answered(message: Message, protocol: str, case: Case) -> Message:
    """Return an answer as it is compared: the gateway writes names in small letters, as HTTP/2 has them."""
    headers = tuple((name.lower(), value) for name, value in _without_hop(message.headers, protocol))
    if case.closes:
        headers = tuple(pair for pair in headers if pair != _CHUNKED)
    return replace(message, first=message.first.split(b" ")[1], headers=headers)


_CHUNKED = (b"transfer-encoding", b"chunked")


def _without_hop(headers: Headers, protocol: str) -> Headers:
    """Leave out what ends at a hop; of framing, how it is written."""
    kept = tuple((name, value) for name, value in headers if name.lower() not in HOP_BY_HOP)
    if protocol == HTTP_2:
        return tuple(sorted(((name.lower(), value) for name, value in kept), key=lambda pair: pair[0] == b"cookie"))
    return kept + tuple(_CHUNKED for name, value in headers if (name.lower(), value.lower()) == _CHUNKED)


@pytest.mark.parametrize(("protocol", "name"), ALL)
def test_the_upstream_gets_the_same(protocol: str, name: str, outcomes: Outcomes) -> None:
    gateway, mitmproxy = (_outcome(outcomes, way, protocol, name) for way in ("gateway", "mitmproxy"))
    assert len(gateway.sent) == len(CASES[name].requests)
    assert [_sent(each, protocol) for each in gateway.sent] == [_sent(each, protocol) for each in mitmproxy.sent]


@pytest.mark.parametrize(("protocol", "name"), ALL)
def test_the_client_gets_the_same(protocol: str, name: str, outcomes: Outcomes) -> None:
    gateway, mitmproxy = (_outcome(outcomes, way, protocol, name) for way in ("gateway", "mitmproxy"))
    assert len(gateway.answered) >= len(CASES[name].requests)
    assert [_answered(each, protocol, CASES[name]) for each in gateway.answered] == [
        _answered(each, protocol, CASES[name]) for each in mitmproxy.answered
    ]
