"""The machines' DNS: what it says, read with somebody else's parser."""

import struct
from ipaddress import IPv4Address, IPv4Network

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from dns.rcode import FORMERR, NOERROR, NOTIMP, NXDOMAIN

from subclaw.egress.names.dns import PAYLOAD_BYTES, TTL_S, answer, framed, unframed

KEY = b"a secret of the host"
QUERY = dns.message.make_query("api.test", "A", id=7).to_wire()
HEADER = struct.Struct(">6H")
OPT = b"\0" + struct.pack(">HHIH", 41, 4096, 0, 0)


def asked(name: str, kind: str = "A", use_edns: int | None = None) -> dns.message.QueryMessage:
    """Ask and return the answer, which is checked to be one to that question."""
    query = dns.message.make_query(name, kind, use_edns=use_edns)
    return read(query.to_wire(), query)


def read(message: bytes, query: dns.message.QueryMessage) -> dns.message.QueryMessage:
    raw = answer(message, KEY)
    assert raw is not None
    reply = dns.message.from_wire(raw)
    assert isinstance(reply, dns.message.QueryMessage)
    assert query.is_response(reply)
    assert reply.flags & dns.flags.RA
    assert not reply.authority
    return reply


def address_of(name: str, key: bytes = KEY) -> IPv4Address:
    raw = answer(dns.message.make_query(name, "A").to_wire(), key)
    assert raw is not None
    (found,) = dns.message.from_wire(raw).answer
    assert found.ttl == TTL_S
    return IPv4Address(found[0].to_text())


@pytest.mark.parametrize(
    "name",
    [
        "api.test",
        "data.evil.test",
        "a.b.c.example",
        "xn--bcher-kva.example",
        "A" * 63 + ".a",
        "llm.subclaw.internal",
        "LLM.Subclaw.Internal",
    ],
)
def test_a_full_hostname_has_an_address(name: str) -> None:
    reply = asked(name)
    assert reply.rcode() == NOERROR
    (found,) = reply.answer
    assert found.to_text().startswith(f"{name}. {TTL_S} IN A 198.1")


def test_addresses_are_spread_and_stay_the_same() -> None:
    addresses = [address_of(f"host-{number}.test") for number in range(2_000)]
    assert all(address in IPv4Network("198.18.0.0/15") for address in addresses)
    assert {int(address) % 256 for address in addresses} == set(range(1, 255))
    assert len({int(address) // 256 for address in addresses}) > 450
    assert len(set(addresses)) > 1_950
    assert address_of("host-1.test") == addresses[1] == address_of("HOST-1.TEST.")
    assert address_of("host-1.test", b"another key") != addresses[1]


def test_the_question_comes_back_as_it_was_written() -> None:
    query = dns.message.make_query("aPi.TeST", "A").to_wire()
    raw = answer(query, KEY)
    assert raw is not None
    assert raw[12 : len(query)] == query[12:]


@pytest.mark.parametrize(
    "kind", ["AAAA", "HTTPS", "SVCB", "TXT", "MX", "NS", "SOA", "CNAME", "DS", "PTR", "ANY", "TYPE65280"]
)
@pytest.mark.parametrize("name", ["api.test", "_dmarc.api.test"])
def test_there_is_nothing_but_addresses(name: str, kind: str) -> None:
    reply = asked(name, kind)
    assert (reply.rcode(), reply.answer) == (NOERROR, [])


@pytest.mark.parametrize(
    "name", [".", "_sip._tcp.api.test", "a_b.test", "-a.test", "1.2.3.4", r"a\.b.test", r"\233.test", r"a\000.test"]
)
def test_names_that_no_host_has_have_no_address(name: str) -> None:
    for kind in ("A", "SRV"):
        reply = asked(name, kind)
        assert (reply.rcode(), reply.answer) == (NOERROR, [])


@pytest.mark.parametrize(
    "name",
    [
        *(
            "localhost",
            "a.localhost",
            "LOCALHOST",
            "com",
            "test",
            "db",
            "printer.local",
            "a.b.internal",
            "subclaw.internal",
            "x.llm.subclaw.internal",
            "x.onion",
        ),
        *("router.home.arpa", "1.0.0.127.in-addr.arpa", "b.ip6.arpa", "ipv4only.arpa", "resolver.arpa", "x.invalid"),
        *("localhost.localdomain", "a.alt", "use-application-dns.net"),
    ],
)
@pytest.mark.parametrize("kind", ["A", "AAAA", "PTR"])
def test_names_that_cannot_be_outside_do_not_exist(name: str, kind: str) -> None:
    reply = asked(name, kind)
    assert (reply.rcode(), reply.answer) == (NXDOMAIN, [])


@pytest.mark.parametrize(
    "name", ["notlocalhost.test", "internal.test", "xlocal.example", "a.xonion", "onion.test", "b.net"]
)
def test_names_that_only_resemble_those_exist(name: str) -> None:
    assert asked(name).answer


@pytest.mark.parametrize("payload", [512, 1_232, 65_535])
@pytest.mark.parametrize("want_dnssec", [True, False])
def test_edns(payload: int, want_dnssec: bool) -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    query = dns.message.make_query(
        "api.test", "A", use_edns=0, payload=payload, want_dnssec=want_dnssec, options=[cookie]
    )
    reply = read(query.to_wire(), query)
    assert (reply.rcode(), reply.edns, reply.payload, reply.options) == (NOERROR, 0, PAYLOAD_BYTES, ())
    assert bool(reply.ednsflags & dns.flags.DO) is want_dnssec
    assert len(reply.answer) == 1


def test_a_newer_edns_is_told_our_version() -> None:
    reply = asked("api.test", use_edns=3)
    assert (reply.rcode(), reply.edns, reply.answer) == (dns.rcode.BADVERS, 0, [])


def test_without_edns_there_is_none_in_the_answer() -> None:
    assert asked("api.test", use_edns=-1).edns == -1


def test_flags() -> None:
    query = dns.message.make_query("api.test", "A")
    query.flags = dns.flags.RD | dns.flags.CD | dns.flags.AD | dns.flags.TC
    assert read(query.to_wire(), query).flags == dns.flags.QR | dns.flags.RD | dns.flags.RA | dns.flags.CD
    query.flags = dns.flags.Flag(0)
    assert read(query.to_wire(), query).flags == dns.flags.QR | dns.flags.RA


@pytest.mark.parametrize("network", ["CH", "HS", "NONE", "ANY", "CLASS0"])
def test_other_classes(network: str) -> None:
    query = dns.message.make_query("version.bind", "TXT", rdclass=network)
    assert read(query.to_wire(), query).rcode() == NOTIMP


@pytest.mark.parametrize("kind", ["AXFR", "IXFR", "TKEY", "TSIG", "MAILB"])
def test_questions_about_a_server(kind: str) -> None:
    assert asked("api.test", kind).rcode() == NOTIMP


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_operations(opcode: int) -> None:
    raw = answer(HEADER.pack(7, opcode << 11, 1, 0, 0, 0) + QUERY[12:], KEY)
    assert raw == HEADER.pack(7, 0x8080 | opcode << 11 | NOTIMP, 0, 0, 0, 0)


@pytest.mark.parametrize("message", [b"", QUERY[:11], HEADER.pack(7, 0x8000, 1, 0, 0, 0) + QUERY[12:], b"\xff" * 12])
def test_what_deserves_no_answer(message: bytes) -> None:
    assert answer(message, KEY) is None


def counted(questions: int, answers: int, authorities: int, additional: int, rest: bytes = QUERY[12:]) -> bytes:
    return HEADER.pack(7, 0x0100, questions, answers, authorities, additional) + rest


@pytest.mark.parametrize(
    "message",
    [
        counted(0, 0, 0, 0, b""),
        counted(0, 0, 0, 1, OPT),
        counted(1, 0, 0, 0, b""),
        counted(2, 0, 0, 0, QUERY[12:] * 2),
        counted(1, 1, 0, 0),
        counted(1, 0, 1, 0),
        counted(1, 0, 0, 1),
        counted(1, 0, 0, 2, QUERY[12:] + OPT * 2),
        counted(1, 0, 0, 1, QUERY[12:] + OPT + b"\0"),
        counted(1, 0, 0, 1, QUERY[12:] + OPT[:-1]),
        counted(1, 0, 0, 1, QUERY[12:] + OPT[:-2] + b"\0\1\0"),
        counted(1, 0, 0, 1, QUERY[12:] + OPT[:-2] + b"\0\5\0\x0a\0\2\0"),
        counted(1, 0, 0, 1, QUERY[12:] + b"\1a" + OPT),
        counted(1, 0, 0, 1, QUERY[12:] + OPT.replace(b"\x29", b"\x01")),
        counted(1, 0, 0, 0, QUERY[12:] + OPT),
        QUERY[:-1],
        QUERY + b"\0",
        counted(1, 0, 0, 0, b"\x03api\xc0\x0c\0\1\0\1"),
        counted(1, 0, 0, 0, b"\xc0\x0c\0\1\0\1"),
        counted(1, 0, 0, 0, b"\x40" + b"a" * 64 + b"\0\0\1\0\1"),
        counted(1, 0, 0, 0, b"\x3fabc"),
        counted(1, 0, 0, 0, b"\1a" * 127 + b"\1" + b"\0\0\1\0\1"),
        counted(1, 0, 0, 0, b"\1a" * 128 + b"\0\0\1\0\1"),
        counted(1, 0, 0, 0, b"\3api\4test\0" + b"\0\x29\0\1"),
        counted(1, 0, 0, 1, QUERY[12:] + OPT[:-2] + b"\x05\0\0\x0c\x04\xfc" + bytes(1_276)),
    ],
)
def test_malformed_questions(message: bytes) -> None:
    assert answer(message, KEY) == HEADER.pack(7, 0x8180 | FORMERR, 0, 0, 0, 0)


def test_the_longest_name() -> None:
    name = b"\x3d" + b"a" * 61 + (b"\x3f" + b"a" * 63) * 3 + b"\0"
    assert len(name) == 255
    raw = answer(counted(1, 0, 0, 0, name + b"\0\1\0\1"), KEY)
    assert raw is not None
    assert dns.message.from_wire(raw).answer
    assert answer(counted(1, 0, 0, 0, b"\x3e" + b"a" + name[1:] + b"\0\1\0\1"), KEY) == HEADER.pack(
        7, 0x8181, 0, 0, 0, 0
    )


def test_messages_over_tcp() -> None:
    stream = framed(QUERY) + framed(b"") + framed(b"x" * 65_535)
    first, rest = unframed(stream) or (b"", b"")
    assert first == QUERY
    second, rest = unframed(rest) or (b"?", b"")
    assert second == b""
    assert all(unframed(rest[:end]) is None for end in (0, 1, 2, 3, 65_536))
    assert unframed(rest) == (b"x" * 65_535, b"")
