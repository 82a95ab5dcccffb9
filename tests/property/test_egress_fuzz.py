"""The gateway's parsers, given whatever a machine may send: random bytes, and sound messages that were damaged.

Each parser is tried for `SUBCLAW_FUZZ_S` seconds, with examples that are new each time, and its verdict is held against
that of others: h11 and llhttp for HTTP, OpenSSL for TLS, dnspython for DNS.
"""

import contextlib
import os
import ssl
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import h11
import httptools
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.hellos import built, client_hello, message_of, records, server_name, vector

from subclaw.core.addresses import looks_like_address
from subclaw.core.hostname import full_hostname
from subclaw.egress.http.head import END, request_problem, response_problem
from subclaw.egress.machines.client_hello import HELLO_LIMIT_BYTES, RECORDS_LIMIT, BadHello, Hello, read_hello
from subclaw.egress.names.dns import PAYLOAD_BYTES, answer

SECONDS = float(os.environ.get("SUBCLAW_FUZZ_S", "5"))
EXAMPLES_A_ROUND = 300
HEADERS_LIMIT = 100
KEY = b"a secret of the host"


def for_a_while(check: Callable[[bytes], None], inputs: st.SearchStrategy[bytes]) -> None:
    """Hold a check against new inputs until the time is over; a failure is made small and shown."""
    until_s = time.monotonic() + SECONDS
    trial = settings(
        max_examples=EXAMPLES_A_ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )(given(inputs)(check))
    while time.monotonic() < until_s:
        trial()


_BYTES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([bytes([value]) for value in b"\0\x01\x0b\x0c\x16\x20\x29\x3f\x40\x7f\x80\xc0\xff\r\n\t :;,.-_"]),
    st.integers(0, 65_535).map(lambda number: number.to_bytes(2)),
)
_EDITS = st.tuples(
    st.sampled_from(["set", "insert", "cut", "repeat", "nudge", "end"]),
    st.integers(0, 1_023),
    st.integers(0, 40),
    _BYTES,
)


def _edited(data: bytes, edit: tuple[str, int, int, bytes]) -> bytes:
    how, place, size_bytes, value = edit
    at = place % (len(data) + 1)
    if how == "set":
        return data[:at] + value + data[at + len(value) :]
    if how == "insert":
        return data[:at] + value + data[at:]
    if how == "cut":
        return data[:at] + data[at + size_bytes :]
    if how == "repeat":
        return data[: at + size_bytes] + data[at:]
    if how == "nudge" and at < len(data):
        return data[:at] + bytes([(data[at] + size_bytes - 20) % 256]) + data[at + 1 :]
    return data[:at]


@st.composite
def damaged(draw: st.DrawFn, sound: Sequence[bytes]) -> bytes:
    """Draw a sound message with up to four changes, none included."""
    data = draw(st.sampled_from(sound))
    for edit in draw(st.lists(_EDITS, max_size=4)):
        data = _edited(data, edit)
    return data


_SOUND_LINES = [
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"X:\r\n", b"Accept: */*\r\n"),
    *(b"Connection: close, upgrade\r\n", b"Expect: 100-continue\r\n", b"TE:a\r\n"),
]
_TRICKY_LINES = [
    *(b"Host: api.test\r\n", b"content-length:3\r\n", b"Content-Length: +3\r\n", b"Upgrade: h2c\r\n", b"X:\0\r\n"),
    *(
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:chunked, chunked\r\n",
    ),
    *(b" folded\r\n", b"X: a\nY: b\r\n", b"X: a\rb\r\n", b"X: \x0b\r\n", b"X: \x7f\r\n", b"X\xff: a\r\n", b": a\r\n"),
]
_BUILT_REQUESTS = st.builds(
    lambda sound, tricky, rest: b"POST /a HTTP/1.1\r\nHost: api.test\r\n" + b"".join(sound + tricky + rest) + b"\r\n",
    st.lists(st.sampled_from(_SOUND_LINES), max_size=3),
    st.lists(st.sampled_from(_TRICKY_LINES), max_size=1),
    st.lists(st.sampled_from(_SOUND_LINES), max_size=1),
)
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n",
    b"POST /v1/a?b=c HTTP/1.1\r\nhost:api.test:443\r\nContent-Length: 3\r\nAccept: */*\r\n\r\n",
    b"PUT http://api.test/ HTTP/1.1\r\nHost: [2606::1]:80\r\nTransfer-Encoding: Chunked\r\nX-Y:\ta b \r\n\r\n",
    b"DELETE /%2e%2e HTTP/1.1\r\nAuthorization: Bearer x\r\nHost: a\r\nConnection: close\r\n\r\n",
]


def test_request_heads() -> None:
    for_a_while(_check_request, st.one_of(st.binary(max_size=80), damaged(REQUESTS), _BUILT_REQUESTS))


def _check_request(data: bytes) -> None:
    head = _head(data)
    problem = request_problem(head, HEADERS_LIMIT)
    if problem is not None:
        assert problem[0] in (400, 405, 431)
        assert problem[1].isprintable()
        return
    fields = _plain(head)
    names = [name for name, _ in fields]
    assert names.count(b"host") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    body = _body_of(fields)
    http = h11.Connection(h11.SERVER)
    http.receive_data(head + body)
    event = http.next_event()
    assert isinstance(event, h11.Request)
    method, target, _ = head.split(b"\r\n")[0].split(b" ")
    assert (event.method, event.target) == (method, target)
    assert _folded(list(event.headers)) == _folded(fields)
    assert _ends_exactly(http)
    other = _OtherParser()
    try:
        httptools.HttpRequestParser(other).feed_data(head + body)
    except httptools.HttpParserError:
        return  # llhttp knows fewer methods and targets: what it refuses it does not misread
    assert (_folded(other.fields), other.complete) == (_folded(fields), 1)


def test_response_heads() -> None:
    for_a_while(_check_response, st.one_of(st.binary(max_size=80), damaged(RESPONSES)))


RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nDate: now\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\nX: \xe4\r\n\r\n",
    b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
]


def _check_response(data: bytes) -> None:
    head = _head(data)
    problem = response_problem(head, HEADERS_LIMIT)
    if problem is not None:
        assert problem.isprintable()
        return
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="GET", target="/", headers=[("Host", "api.test")]))
    http.receive_data(head)
    event = http.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert event.status_code == int(head[9:12]) != 101
    assert _folded(list(event.headers)) == _folded(_plain(head))


_HANDSHAKE_LINES = [
    *(b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"Sec-WebSocket-Version: 13\r\n"),
    *(
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"upgrade:WebSocket\r\n",
        b"connection: keep-alive, UPGRADE\r\n",
    ),
    *(
        b"Upgrade: h2c\r\n",
        b"Upgrade: websocket, h2c\r\n",
        b"HTTP2-Settings: AAMAAABk\r\n",
        b"Sec-WebSocket-Version: 8\r\n",
    ),
    *(
        b"Connection: close\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade, host\r\n",
    ),
]
_HANDSHAKES = st.builds(
    lambda method, lines: method + b" /chat HTTP/1.1\r\nHost: api.test\r\n" + b"".join(lines) + b"\r\n",
    st.sampled_from([b"GET", b"GET", b"GET", b"POST"]),
    st.one_of(st.permutations(_HANDSHAKE_LINES[:4]), st.lists(st.sampled_from(_HANDSHAKE_LINES), max_size=6)),
)
HANDSHAKES = [
    b"GET /chat HTTP/1.1\r\nHost: api.test\r\n" + b"".join(_HANDSHAKE_LINES[:4]) + b"\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nsec-websocket-version: 13\r\n" + b"".join(_HANDSHAKE_LINES[4:6]) + b"\r\n",
]
NO_UPGRADE = (400, "this connection cannot be upgraded")


def test_requests_that_ask_for_a_websocket() -> None:
    for_a_while(_check_handshake, st.one_of(damaged(HANDSHAKES), _HANDSHAKES, damaged(REQUESTS)))


def _check_handshake(data: bytes) -> None:
    head = _head(data)
    without, problem = request_problem(head, HEADERS_LIMIT), request_problem(head, HEADERS_LIMIT, websockets=True)
    if problem is not None or without is None:
        assert without in (problem, NO_UPGRADE)
        return
    assert without == NO_UPGRADE
    fields = _plain(head)
    assert [value.lower() for name, value in fields if name == b"upgrade"] == [b"websocket"]
    assert [value for name, value in fields if name == b"sec-websocket-version"] == [b"13"]
    http = h11.Connection(h11.SERVER)
    http.receive_data(head + b"frames")
    event = http.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, _folded(list(event.headers))) == (b"GET", _folded(fields))
    assert isinstance(http.next_event(), h11.EndOfMessage)
    assert http.next_event() is h11.PAUSED
    assert http.trailing_data[0] == b"frames"
    other = _OtherParser()
    parser = httptools.HttpRequestParser(other)
    try:
        with contextlib.suppress(httptools.HttpParserUpgrade):
            parser.feed_data(head)
    except httptools.HttpParserError:
        return  # see above
    assert parser.should_upgrade()
    assert (_folded(other.fields), other.complete) == (_folded(fields), 1)


SWITCHED = [
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
    b"HTTP/1.1 101\r\nupgrade:websocket\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 101 \r\nTransfer-Encoding: chunked\r\n\r\n",
]


def test_answers_to_who_asked_for_a_websocket() -> None:
    for_a_while(_check_switched, st.one_of(damaged(SWITCHED), damaged(RESPONSES)))


def _check_switched(data: bytes) -> None:
    head = _head(data)
    without, problem = response_problem(head, HEADERS_LIMIT), response_problem(head, HEADERS_LIMIT, upgrade=True)
    if problem is not None or without is None:
        assert (problem is None) == (without is None)
        return
    assert without == "a change of protocol that nobody asked for"
    http = h11.Connection(h11.CLIENT)
    asked = [("Host", "api.test"), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
    http.send(h11.Request(method="GET", target="/", headers=asked))
    http.send(h11.EndOfMessage())
    http.receive_data(head + b"frames")
    event = http.next_event()
    assert isinstance(event, h11.InformationalResponse)
    assert event.status_code == int(head[9:12]) == 101
    assert _folded(list(event.headers)) == _folded(_plain(head))
    assert (http.their_state, http.trailing_data[0]) == (h11.SWITCHED_PROTOCOL, b"frames")


def _head(data: bytes) -> bytes:
    """Return what the gateway would look at: up to the first empty line."""
    data += END
    return data[: data.index(END) + len(END)]


def _plain(head: bytes) -> list[tuple[bytes, bytes]]:
    pairs = [line.split(b":", 1) for line in head.split(b"\r\n")[1:-2]]
    return [(name.lower(), value.strip(b" \t")) for name, value in pairs]


def _folded(fields: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Let the case of the only value that has none, and its name's, make no difference."""
    lower = [(name.lower(), value) for name, value in fields]
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in lower]


def _body_of(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return a body that ends where the only reading of the head says."""
    found = dict(fields)
    if b"transfer-encoding" in found:
        return b"3\r\nabc\r\n0\r\n\r\n"
    return b"a" * min(int(found.get(b"content-length", b"0")), 1_000)


def _ends_exactly(http: h11.Connection) -> bool:
    """Tell whether the body ends with what was received, unless that is not all of it."""
    while isinstance(event := http.next_event(), h11.Data):
        pass
    return event is h11.NEED_DATA or (isinstance(event, h11.EndOfMessage) and not http.trailing_data[0])


class _OtherParser:
    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))

    def on_message_complete(self) -> None:
        self.complete += 1


NAME = (0, server_name(b"api.test"))
HELLOS = [
    client_hello(),
    client_hello(alpn=("h2", "http/1.1"), highest=ssl.TLSVersion.TLSv1_2),
    client_hello(None),
    records(message_of(client_hello("a.b.c.example", alpn=("h2",))), 100),
    records(built([NAME, (16, vector(vector(b"h2", 1), 2)), (0xFE0D, bytes(8))])),
    records(built([NAME]), 8),
    records(built(None)),
]


_NAMES = [
    *(b"api.test", b"API.Test", b"localhost", b"127.1", b"0x1.0x2", b"-a.test", b"a_b.test", b"a.test\0", b"a..test"),
    *(b"", b".", b"a.test.", b"\xc3.test", b"a" * 63 + b".test", b"a" * 64 + b".test", b"a." * 130 + b"test"),
]
_EXTENSIONS = st.one_of(
    st.sampled_from(_NAMES).map(lambda name: (0, server_name(name))),
    damaged([server_name(b"api.test"), server_name(b"api.test", kind=1)]).map(lambda value: (0, value)),
    st.lists(st.sampled_from([b"", b"h2", b"http/1.1"]), max_size=3).map(
        lambda names: (16, vector(b"".join(vector(name, 1) for name in names), 2))
    ),
    damaged([vector(vector(b"h2", 1), 2)]).map(lambda value: (16, value)),
    st.sampled_from([(0, vector(b"\0\0\6a.test\0\0\6b.test", 2)), (43, b"\2\3\4"), (0xFE0D, b""), (51, bytes(1_200))]),
)
_BUILT_HELLOS = st.builds(
    lambda extensions, tail, after, size_bytes: records(built(extensions, tail=tail) + after, size_bytes),
    st.lists(_EXTENSIONS, max_size=4),
    st.sampled_from([b"", b"", b"", b"\0", b"\0\0"]),
    st.sampled_from([b"", b"", b"", b"\0", b"\x0b\0\0\0"]),
    st.sampled_from([16_384, 200, 50]),
)


def test_client_hellos() -> None:
    assert _openssl_reads(HELLOS[0]) == ("api.test",)
    for_a_while(_check_hello, st.one_of(st.binary(max_size=80), damaged(HELLOS), _BUILT_HELLOS))


def _check_hello(data: bytes) -> None:
    hello = _read(data)
    half = _read(data[: len(data) // 2])
    if isinstance(hello, Hello):
        assert half is None or half == hello
        assert _read(data + b"\x16") == hello
        _check_accepted(data, hello)
    elif hello is None:
        assert len(data) < HELLO_LIMIT_BYTES + 5 * RECORDS_LIMIT
        assert half is None
    else:
        assert isinstance(_read(data + bytes(4)), str)  # more does not make it better


def _check_accepted(data: bytes, hello: Hello) -> None:
    extensions = _check_rebuilt(data)
    if hello.server_name is not None:
        assert full_hostname(hello.server_name) == hello.server_name
        assert "." in hello.server_name
        assert not looks_like_address(hello.server_name)
    named = extensions.get(0)
    expected = None if hello.server_name is None else server_name(hello.server_name.encode())
    assert (named and named[:5] + named[5:].lower()) == expected  # the first five are lengths and the kind
    protocols = vector(b"".join(vector(protocol, 1) for protocol in hello.alpn), 2) if hello.alpn else None
    assert extensions.get(16) == protocols
    assert b"" not in hello.alpn
    assert hello.encrypted is (0xFE0D in extensions)
    assert _openssl_reads(data) in ((), (hello.server_name,))


def _check_rebuilt(data: bytes) -> dict[int, bytes]:
    """Take a hello apart, trusting its lengths, and return its extensions: together again, it must be what it was."""
    message, end = b"", 4
    while len(message) < end:
        size_bytes = int.from_bytes(data[3:5])
        message, data = message + data[5 : 5 + size_bytes], data[5 + size_bytes :]
        end = 4 + int.from_bytes(message[1:4])
    rest, parts = message[4 + 2 + 32 :], []
    for length_bytes in (1, 2, 1):
        size_bytes = int.from_bytes(rest[:length_bytes])
        parts.append(rest[length_bytes:][:size_bytes])
        rest = rest[length_bytes + size_bytes :]
    block, extensions = rest[2:], []
    while block:
        size_bytes = int.from_bytes(block[2:4])
        extensions.append((int.from_bytes(block[:2]), block[4 : 4 + size_bytes]))
        block = block[4 + size_bytes :]
    version, random = int.from_bytes(message[4:6]), message[6:38]
    session, suites, compression = parts
    again = built(
        extensions if rest else None, version=version, session=session, suites=suites, compression=compression
    )
    assert again[:6] + random + again[38:] == message
    assert len(dict(extensions)) == len(extensions)
    return dict(extensions)


def _read(data: bytes) -> Hello | str | None:
    try:
        return read_hello(data)
    except BadHello as error:
        return str(error)


def _openssl_reads(data: bytes) -> tuple[str | None, ...]:
    """Return the server's name as OpenSSL sees it, in lower case; nothing if it does not come so far."""
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sni_callback = lambda connection, name, context: seen.append(name.lower() if name else None)
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    with contextlib.suppress(ssl.SSLError):
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    return tuple(seen)


COOKIE = dns.edns.GenericOption("COOKIE", b"12345678")
QUERIES = [
    dns.message.make_query("api.test", "A", use_edns=-1).to_wire(),
    dns.message.make_query("aPi.eXample.com", "A", use_edns=0, want_dnssec=True).to_wire(),
    dns.message.make_query("_sip._tcp.api.test", "SRV").to_wire(),
    dns.message.make_query("printer.local", "AAAA", use_edns=0, options=[COOKIE]).to_wire(),
    dns.message.make_query("version.bind", "TXT", rdclass="CH").to_wire(),
    dns.message.make_query(".", "NS", use_edns=1).to_wire(),
    dns.message.make_response(dns.message.make_query("api.test", "A")).to_wire(),
]
_CODES = {*(dns.rcode.NOERROR, dns.rcode.FORMERR, dns.rcode.NXDOMAIN, dns.rcode.NOTIMP, dns.rcode.BADVERS)}


_LABELS = st.one_of(
    st.sampled_from([b"api", b"Test"]),
    st.sampled_from([b"api", b"Test", b"a.b", b"_x", b"local", b"arpa", b"\xc3", b"\0", b"127", b"-"]),
    st.integers(60, 66).map(lambda size_bytes: b"a" * size_bytes),
    st.integers(1, 30).map(lambda size_bytes: b"b" * size_bytes),
)
_OPTION = b"\0\x0a\0\x02ab"
_EXTRAS = [
    *(
        (0, b""),
        (0, b""),
        (0, b""),
        (0, b"\0"),
        (1, b""),
        (1, b"\0\0\x29\4\xd0" + bytes(6)),
        (1, b"\0\0\x29\4\xd0" + bytes(7)),
    ),
    *((1, b"\0\0\x29\4\xd0" + bytes(4) + vector(option, 2)) for option in (_OPTION, _OPTION[:-1], _OPTION * 2, b"abc")),
    (1, b"\0\0\x29\4\xd0\0\1\x80\0\0\0"),
]
_BUILT_QUERIES = st.builds(
    lambda flags, labels, end, kind, extra: b"".join(
        (
            *(b"\1\2", flags, b"\0\1\0\0\0\0", extra[0].to_bytes(2)),
            *(bytes([len(label)]) + label for label in labels),
            *(end, kind.to_bytes(2), b"\0\1", extra[1]),
        )
    ),
    st.sampled_from([b"\1\0", b"\1\0", b"\0\0", b"\xff\xff", b"\x7f\xff", b"\3\x30"]),
    st.lists(_LABELS, max_size=7),
    st.sampled_from([b"\0", b"\0", b"\0", b"\xc0\x0c", b""]),
    st.sampled_from([1, 1, 1, 28, 41, 65, 252, 255]),
    st.sampled_from(_EXTRAS),
)


def test_dns_messages() -> None:
    for_a_while(_check_dns, st.one_of(st.binary(max_size=80), damaged(QUERIES), _BUILT_QUERIES))


def _check_dns(data: bytes) -> None:
    raw = answer(data, KEY)
    assert (raw is None) is (len(data) < 12 or data[2] >= 0x80)
    if raw is None:
        return
    assert len(raw) <= len(data) + 16
    reply = dns.message.from_wire(raw)
    assert reply.id == int.from_bytes(data[:2])
    assert reply.flags & dns.flags.QR
    assert reply.opcode() == (data[2] >> 3) & 15
    assert reply.rcode() in _CODES
    if reply.opcode() != dns.opcode.QUERY:
        assert reply.rcode() == dns.rcode.NOTIMP
    elif reply.rcode() == dns.rcode.FORMERR:
        assert not _is_plain_query(data)
    else:
        _check_answered(data, raw, reply)


def _check_answered(data: bytes, raw: bytes, reply: dns.message.Message) -> None:
    (question,) = reply.question
    end = 12 + len(question.name.to_wire() or b"") + 4
    assert raw[12:end] == data[12:end]
    query = dns.message.from_wire(_without_options(data, end))
    assert (query.question, query.answer, query.authority, query.additional) == (reply.question, [], [], [])
    assert (query.edns < 0) is (reply.edns < 0)
    if not reply.answer:
        return
    ((found,),) = reply.answer
    assert (question.rdtype, question.rdclass) == (dns.rdatatype.A, dns.rdataclass.IN)
    assert IPv4Address(found.to_text()) in IPv4Network("198.18.0.0/15")
    name = question.name.to_text(omit_final_dot=True)
    assert full_hostname(name) == name.lower()


def _without_options(data: bytes, end: int) -> bytes:
    """Leave out the options of an OPT record, whose contents dnspython reads too; they must fill it."""
    options = data[end + 11 :]
    while options:
        assert len(options) >= 4 + int.from_bytes(options[2:4])
        options = options[4 + int.from_bytes(options[2:4]) :]
    if len(data) == end:
        return data
    assert int.from_bytes(data[end + 9 : end + 11]) == len(data) - end - 11
    return data[: end + 9] + b"\0\0"


def _is_plain_query(data: bytes) -> bool:
    """Tell whether dnspython would send just this: one question, and an OPT record at most."""
    try:
        query = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return False
    sections = (len(query.question), len(query.answer), len(query.authority), len(query.additional))
    odd = query.had_tsig or len(data) > PAYLOAD_BYTES or sections != (1, 0, 0, 0)
    return not odd and query.question[0].rdtype != dns.rdatatype.OPT and query.to_wire() == data
