"""A secret that an upstream sends back: however it is cut and wherever it stands, the machine does not get it."""

import asyncio
import base64
import gzip
from collections.abc import Awaitable, Callable

import pytest
from tests.real.egress_scene import KEY, PLACEHOLDER, SECRET, Scene, scene
from tests.real.http2_client import headers, http2_client
from tests.real.test_egress_cases import status

from subclaw.core.policy import Mode
from subclaw.core.secret import Place
from subclaw.testing.egress import run
from subclaw.testing.egress_machine import access_of, machine_door, pinned
from subclaw.testing.upstream import Answer, Connection, Seen, simple

LEAK = SECRET.encode()


def both(answer: Answer, see: Callable[[Scene, bytes], Awaitable[None]] | None = None) -> None:
    """Have a request answered, by either version of HTTP; neither answer holds the secret."""

    async def scenario() -> None:
        async with scene(answer) as at:
            first = await at.ask()
            second = await at.ask_http2()
            for text in (first, repr(second.headers).encode() + second.body):
                assert LEAK not in text
                if see is not None:
                    await see(at, text)
            assert [seen.headers["authorization"] for seen in at.api.requests] == [f"Bearer {SECRET}"] * 2

    run(scenario)


async def blotted(_: Scene, text: bytes) -> None:
    """See that there was something to blot out."""
    assert b"[secret]" in text


@pytest.mark.parametrize("cut", range(0, len(SECRET), 5))
def test_cut_into_chunks_and_segments(cut: int) -> None:
    async def answer(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"key=" + LEAK[:cut], LEAK[cut:], b"&x=y"):
            if piece:
                await connection.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await asyncio.sleep(0.005)  # so that it goes out by itself; nothing depends on it
        await connection.write(b"0\r\n\r\n")

    both(answer, blotted)


def test_one_byte_at_a_time() -> None:
    async def answer(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await connection.write(b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in LEAK) + b"0\r\n\r\n")

    both(answer, blotted)


def test_in_every_header_and_in_a_body_of_an_error() -> None:
    async def answer(seen: Seen, connection: Connection) -> None:
        value = seen.headers["authorization"]
        lines = [f"{name}: {value}" for name in ("location", "www-authenticate", "x-debug", "etag", "link", "warning")]
        body = f'{{"error": "bad key {value}"}}'.encode()
        await connection.write(simple(body, *lines, f"x: {base64.b64encode(value.encode()).decode()}", status="422 No"))

    both(answer, blotted)


def test_in_the_reason_an_interim_answer_trailers_and_extensions() -> None:
    async def answer(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 103 Early Hints\r\nlink: " + LEAK + b"\r\n\r\n")
        await connection.write(b"HTTP/1.1 200 " + LEAK + b"\r\ntransfer-encoding: chunked\r\n\r\n")
        await connection.write(b"4;key=" + LEAK + b"\r\nfine\r\n0\r\nkey: " + LEAK + b"\r\n\r\n")

    both(answer)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "identity, gzip", "br", "x-unknown"])
def test_compressed_although_that_was_not_asked_for(coding: str) -> None:
    packed = gzip.compress(LEAK)

    async def answer(seen: Seen, connection: Connection) -> None:
        assert seen.headers["accept-encoding"] == "identity"
        await connection.write(
            simple(packed, f"content-encoding: {coding}", "connection: keep-alive, content-encoding")
        )

    async def nothing(_: Scene, text: bytes) -> None:
        assert packed not in text
        assert b"it is encoded" in text

    both(answer, nothing)


def test_piece_by_piece_by_range() -> None:
    async def answer(seen: Seen, connection: Connection) -> None:
        assert "range" not in seen.headers
        await connection.write(simple(LEAK))

    async def scenario() -> None:
        async with scene(answer) as at:
            for first in range(0, len(SECRET), 4):
                found = await at.ask("/", f"Range: bytes={first}-{first + 3}", "If-Range: x")
                assert found.endswith(b"[secret]" + b"*" * (len(SECRET) - 8))

    run(scenario)


def test_an_answer_that_breaks_off_within_the_secret() -> None:
    async def answer(_: Seen, connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nkey=" + LEAK[:-1])
        connection.close()

    async def scenario() -> None:
        async with scene(answer) as at:
            assert LEAK[:-1] not in await at.ask()
            assert LEAK[:-1] not in (await at.ask_http2()).body

    run(scenario)


def test_answers_of_refusals_quote_nothing() -> None:
    async def scenario() -> None:
        async with scene(api_rules=[{}, {"mode": Mode.DENY, "addresses": (), "paths": ("/no*",)}]) as at:
            for path in ("/no?key=" + PLACEHOLDER, "/no/" + PLACEHOLDER):
                for text in (await at.ask(path), bytes((await at.ask_http2(path)).body)):
                    assert LEAK not in text
                    assert PLACEHOLDER.encode() not in text
            assert at.api.connections == []

    run(scenario)


@pytest.mark.parametrize(
    ("place", "target", "sent"),
    [
        (Place.QUERY, f"/x?a=b&key={PLACEHOLDER}&c=d", f"/x?a=b&key={SECRET}&c=d"),
        (Place.PATH, f"/bot{PLACEHOLDER}/send", f"/bot{SECRET}/send"),
    ],
)
def test_in_a_query_and_in_a_path(place: Place, target: str, sent: str) -> None:
    async def answer(seen: Seen, connection: Connection) -> None:
        await connection.write(simple(seen.target.encode(), f"location: {seen.target}"))

    async def scenario() -> None:
        async with scene(answer, binding={"place": place, "name": "key" if place is Place.QUERY else ""}) as at:
            text = await at.door.talk(at.get(target, "Connection: close").replace(KEY, b""), host="api.test")
            assert text.count(b"[secret]") == 2
            async with http2_client(at.door, "api.test") as client:
                answer2 = await client.get(headers(at.api_host, target))
            assert b"[secret]" in answer2.body
            assert LEAK not in text + bytes(answer2.body) + repr(answer2.headers).encode()
            assert [seen.target for seen in at.api.requests] == [sent, sent]
            assert not any(SECRET in noted.path for noted in at.door.decisions)

    run(scenario)


def test_a_template_puts_it_in_and_the_machines_own_header_goes() -> None:
    async def scenario() -> None:
        async with scene(binding={"template": "Token {}"}) as at:
            request = at.get("/", "Connection: close", "Authorization: mine", "AUTHORIZATION: mine too")
            assert status(await at.door.talk(request, host="api.test")) == 200
            assert at.api.received.count(b"uthorization: ") == 1
            assert at.api.requests[0].headers["authorization"] == f"Token {SECRET}"

    run(scenario)


def test_what_connection_names_is_not_sent_and_takes_the_secret_with_it() -> None:
    async def scenario() -> None:
        async with scene() as at:
            text = await at.ask("/", "Connection: close, authorization")
            assert status(text) in (200, 400)
            assert LEAK not in at.api.received

    run(scenario)


def test_one_machines_connections_are_not_anothers() -> None:
    async def scenario() -> None:
        async with scene() as at:
            access = access_of([pinned("api.test", at.api.port)], {})
            async with machine_door(access, at.authority, at.api.port) as other:
                for door in (at.door, other, at.door, other):
                    request = at.get("/", "Connection: close")
                    assert status(await door.talk(request, host="api.test")) == 200
                first, second = (connection.received for connection in at.api.connections)
                assert first.count(LEAK) == 2
                assert second.count(PLACEHOLDER.encode()) == 2
                assert LEAK not in second

    run(scenario)


def test_nothing_is_kept_of_an_answer_for_the_next_request() -> None:
    count = 0

    async def answer(_: Seen, connection: Connection) -> None:
        nonlocal count
        count += 1
        await connection.write(simple(b"%d" % count, "cache-control: public, max-age=3600", 'etag: "x"'))

    async def scenario() -> None:
        async with scene(answer) as at:
            assert (await at.ask()).endswith(b"\r\n\r\n1")
            assert (await at.ask("/", 'If-None-Match: "x"')).endswith(b"\r\n\r\n2")
            assert bytes((await at.ask_http2()).body) == b"3"
            assert "if-none-match" in at.api.requests[1].headers

    run(scenario)


SPLITTING = {
    "line end in a value": b"HTTP/1.1 200 OK\r\nx: a\nset-cookie: b\r\ncontent-length: 0\r\n\r\n",
    "CR in a value": b"HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 0\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\nHTTP/",
    "length and coding": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "many interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    "large interim answers": (b"HTTP/1.1 103 Early Hints\r\nx: " + b"a" * 15_000 + b"\r\n\r\n") * 20,
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000,
    "status 99": b"HTTP/1.1 099 No\r\ncontent-length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 No\r\ncontent-length: 0\r\n\r\n",
    "HTTP/2": b"\0\0\0\4\0\0\0\0\0",
}


@pytest.mark.parametrize("raw", SPLITTING.values(), ids=SPLITTING.keys())
def test_answers_that_two_could_read_differently(raw: bytes) -> None:
    async def answer(_: Seen, connection: Connection) -> None:
        await connection.write(raw)
        connection.close()

    async def scenario() -> None:
        async with scene(answer) as at:
            assert status(await at.ask()) == 502
            assert (await at.ask_http2()).status == 502

    run(scenario)


def test_what_follows_an_answer_is_not_the_next_ones() -> None:
    async def answer(_: Seen, connection: Connection) -> None:
        await connection.write(simple(b"fine") + simple(b"smuggled"))

    async def scenario() -> None:
        async with scene(answer) as at:
            reader, writer = await at.door.connect_tls("api.test")
            writer.write(at.get() + at.get("/", "Connection: close"))
            said = await reader.read()
            writer.close()
            assert said.count(b"fine") == 2
            assert b"smuggled" not in said

    run(scenario)
