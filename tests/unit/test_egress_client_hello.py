"""The client's first words: real ones are read whole, and doubtful ones are refused."""

import ssl

import pytest
from tests.hellos import built, client_hello, message_of, records, server_name, vector

from subclaw.egress.machines.client_hello import HELLO_LIMIT_BYTES, RECORDS_LIMIT, BadHello, Hello, read_hello

NAME = (0, server_name(b"api.test"))
PLAIN = Hello(server_name="api.test", alpn=(), encrypted=False)


@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("h2", "http/1.1"), ("x" * 255,)])
@pytest.mark.parametrize("ciphers", ["DEFAULT", "ALL:@SECLEVEL=0", "ECDHE-RSA-AES128-GCM-SHA256"])
def test_real_hellos(highest: ssl.TLSVersion, alpn: tuple[str, ...], ciphers: str) -> None:
    hello = read_hello(client_hello(highest=highest, alpn=alpn, ciphers=ciphers))
    assert hello == Hello(server_name="api.test", alpn=tuple(name.encode() for name in alpn), encrypted=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, None),
        ("127.0.0.1", None),  # OpenSSL sends no address as a name
        ("API.Test", "api.test"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
        ("a1-b.c-2.example.com", "a1-b.c-2.example.com"),
    ],
)
def test_names_of_real_hellos(name: str | None, expected: str | None) -> None:
    hello = read_hello(client_hello(name))
    assert hello is not None
    assert hello.server_name == expected


@pytest.mark.parametrize("size_bytes", [40, 100, 16_384])
def test_a_hello_in_pieces_is_complete_only_at_its_end(size_bytes: int) -> None:
    data = records(message_of(client_hello(alpn=("h2",))), size_bytes)
    assert {read_hello(data[:end]) for end in range(len(data))} == {None}
    complete = read_hello(data)
    assert complete == Hello(server_name="api.test", alpn=(b"h2",), encrypted=False)
    assert read_hello(data + b"\x17\x03\x03\x00\x05early") == complete


@pytest.mark.parametrize("version", [0x0301, 0x0302, 0x0303])
def test_versions(version: int) -> None:
    assert read_hello(records(built([NAME], version=version), version=version)) == PLAIN


def test_an_old_hello_without_extensions_names_nobody() -> None:
    nobody = Hello(server_name=None, alpn=(), encrypted=False)
    assert read_hello(records(built(None))) == nobody
    assert read_hello(records(built([]))) == nobody


def test_an_encrypted_hello_is_told() -> None:
    assert read_hello(records(built([NAME, (0xFE0D, b"\0" * 200)]))) == Hello(
        server_name="api.test", alpn=(), encrypted=True
    )


def test_the_largest_hello() -> None:
    head = len(built([NAME, (51, b"")]))
    largest = built([NAME, (51, bytes(HELLO_LIMIT_BYTES - head))])
    assert read_hello(records(largest, 8_192)) == PLAIN
    with pytest.raises(BadHello, match="too long"):
        read_hello(records(built([NAME, (51, bytes(HELLO_LIMIT_BYTES - head + 1))]), 8_192)[:20])


def test_many_small_records_are_not_waited_for() -> None:
    message = built([NAME])
    size_bytes = -(-len(message) // RECORDS_LIMIT)
    assert read_hello(records(message, size_bytes)) == PLAIN
    with pytest.raises(BadHello, match="too many pieces"):
        read_hello(records(message, 1)[: RECORDS_LIMIT * 6])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",  # PostgreSQL asks for TLS in its own way
        b"\x80\x2e\x01\x00\x02",  # SSL 2
        b"\x15\x03\x01\x00\x02\x01\x00",  # an alert
        b"\x17\x03\x03\x00\x05hello",
        b"\x16\x03\x00",
        b"\x16\x03\x04",
        b"\x16\x02\x00",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x04\x02",  # a ServerHello
        b"\x16\x03\x01\x00\x04\x01\x01\x00\x00",
    ],
)
def test_other_beginnings_are_refused_as_soon_as_they_show(data: bytes) -> None:
    with pytest.raises(BadHello):
        read_hello(data)


def test_nothing_yet_is_not_wrong() -> None:
    assert read_hello(b"") is None
    assert read_hello(b"\x16") is None


@pytest.mark.parametrize(
    "message",
    [
        built([NAME, NAME]),
        built([(43, b""), (51, b""), (43, b"")]),
        built([(0, vector(b"\0" + vector(b"api.test", 2) + b"\0" + vector(b"evil.test", 2), 2))]),
        built([(0, server_name(b"api.test", kind=1))]),
        built([(0, server_name(b"api.test") + b"\0")]),
        built([(0, b"")]),
        built([(0, vector(b"", 2))]),
        built([(0, vector(b"\0\0\x20api.test", 2))]),
        built([(16, b"")]),
        built([(16, vector(b"", 2))]),
        built([(16, vector(b"\0", 2))]),
        built([(16, vector(b"\x03h2", 2))]),
        built([(16, vector(b"\x02h2", 2) + b"x")]),
        built([NAME], version=0x0300),
        built([NAME], version=0x0304),
        built([NAME], session=bytes(33)),
        built([NAME], suites=b""),
        built([NAME], suites=b"\x13\x01\x13"),
        built([NAME], compression=b""),
        built([NAME], compression=b"\x01"),
        built([NAME], tail=b"\0"),
        built(None, tail=b"\0"),
        built(None, tail=b"\0\4\0\0\0\1"),
        built([NAME]) + b"\0",
        built([NAME]) * 2,
        b"\x01\0\0\0",
    ],
)
def test_doubtful_hellos_are_refused(message: bytes) -> None:
    with pytest.raises(BadHello):
        read_hello(records(message))


@pytest.mark.parametrize(
    "name",
    [
        *(b"", b".", b"localhost", b"api.test.", b".api.test", b"api..test", b"-api.test", b"api-.test", b"a_b.test"),
        *(b"api.test\0", b"api.test\0.evil.test", b"api.test:443", b"api test.com", b"*.test", b"%61pi.test"),
        *(b"b\xc3\xbccher.test", b"\xff.test", b"a" * 64 + b".test", b"a." * 126 + b"ab", b"a" * 9_000),
        *(b"127.0.0.1", b"127.1", b"2130706433", b"0x7f.1", b"0177.0.0.1", b"::1", b"[::1]", b"1.2.3.4."),
    ],
)
def test_names_that_are_no_full_hostnames_are_refused(name: bytes) -> None:
    with pytest.raises(BadHello):
        read_hello(records(built([(0, server_name(name))]), 8_192))
