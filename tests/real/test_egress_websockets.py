"""WebSockets through the gateway, with a library's client and server, and with shapes that no library sends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from tests.real.egress_scene import PLACEHOLDER, SECRET, fine
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from subclaw.core.quota import Quota
from subclaw.core.secret import Binding, Place
from subclaw.testing.egress import run
from subclaw.testing.egress_machine import MachineDoor, access_of, machine_door, pinned, upstream_authority
from subclaw.testing.upstream import http_upstream

MEGABYTE = 2**20
Server = Callable[[ServerConnection], Awaitable[None]]


async def echo(server: ServerConnection) -> None:
    """Say again whatever is said."""
    async for message in server:
        await server.send(message)


@asynccontextmanager
async def opened(
    server: Server = echo,
    *,
    binding: Mapping[str, object] | None = None,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    compression: str | None = None,
    quota: Quota | None = None,
    seen: list[MachineDoor] | None = None,
) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket of a machine to a server, for a block."""
    authority = upstream_authority()
    async with (
        asyncio.timeout(20),
        serve(server, "127.0.0.1", 0, ssl=authority.context("ws.test"), max_size=None) as up,
    ):
        port = next(iter(up.sockets)).getsockname()[1]
        bound = Binding(**{"hosts": ("ws.test",), "ports": (port,), **(binding or {})})  # type: ignore[arg-type]
        access = access_of([pinned("ws.test", port)], {"key": (PLACEHOLDER, SECRET, bound)})
        async with machine_door(access, authority, port, quota=quota) as door:
            if seen is not None:
                seen.append(door)
            url = f"wss://ws.test:{port}{path}"
            async with connect(
                url,
                host="127.0.0.1",
                port=door.port,
                ssl=door.trusting,
                compression=compression,
                additional_headers=headers,
                max_size=None,
                proxy=None,
            ) as client:
                yield client


def test_messages_small_and_large_go_both_ways() -> None:
    async def scenario() -> None:
        async with opened() as client:
            for message in ("hello", "", "ü" * 1_000, b"", b"\0\xff" * (MEGABYTE // 2), b"x" * (3 * MEGABYTE)):
                await client.send(message)
                assert await client.recv() == message
            pong = await client.ping(b"still there?")
            await pong

    run(scenario)


def test_messages_in_many_frames() -> None:
    async def scenario() -> None:
        async def frames(server: ServerConnection) -> None:
            await server.send([SECRET[:7], "", SECRET[7:9], SECRET[9:], "!"])
            await server.send([SECRET.encode()[:7], SECRET.encode()[7:]])
            assert await server.recv() == "abc"

        async with opened(frames) as client:
            assert await client.recv() == "[secret]" + "*" * (len(SECRET) - 8) + "!"
            assert await client.recv() == b"[secret]" + b"*" * (len(SECRET) - 8)
            await client.send(["a", "b", "c"])

    run(scenario)


@pytest.mark.parametrize(("code", "reason"), [(1000, "over"), (1001, ""), (4321, "mine")])
def test_ends_are_passed_on(code: int, reason: str) -> None:
    async def scenario() -> None:
        async def leave(server: ServerConnection) -> None:
            await server.close(code, reason)

        async with opened(leave) as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (code, reason)
        said: list[tuple[int | None, str | None]] = []

        async def listen(server: ServerConnection) -> None:
            await server.wait_closed()
            said.append((server.close_code, server.close_reason))

        async with opened(listen) as client:
            await client.close(code, reason)
        assert said == [(code, reason)]

    run(scenario)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_secret_goes_in_by_a_header_and_does_not_come_back(compression: str | None) -> None:
    async def scenario() -> None:
        async def tell(server: ServerConnection) -> None:
            assert server.request is not None
            value = server.request.headers["authorization"]
            await server.send(value)
            await server.send(value.encode())
            await server.send(f"{'x' * 70_000}{value}{'y' * 10}")

        given = {"authorization": f"Bearer {PLACEHOLDER}"}
        async with opened(tell, headers=given, compression=compression) as client:
            assert client.protocol.extensions == []
            blot = "[secret]" + "*" * (len(SECRET) - 8)
            assert await client.recv() == f"Bearer {blot}"
            assert await client.recv() == f"Bearer {blot}".encode()
            assert await client.recv() == f"{'x' * 70_000}Bearer {blot}{'y' * 10}"

    run(scenario)


def test_a_secret_goes_in_by_the_query() -> None:
    async def scenario() -> None:
        paths: list[str] = []

        async def look(server: ServerConnection) -> None:
            assert server.request is not None
            paths.append(server.request.path)

        async with opened(look, binding={"place": Place.QUERY, "name": "key"}, path=f"/x?key={PLACEHOLDER}") as client:
            await client.wait_closed()
        assert paths == [f"/x?key={SECRET}"]

    run(scenario)


def test_a_placeholder_in_a_message_stays_one() -> None:
    async def scenario() -> None:
        async with opened() as client:
            await client.send(PLACEHOLDER)
            assert await client.recv() == PLACEHOLDER

    run(scenario)


async def talk_on(client: ClientConnection) -> None:
    """Talk until it ends."""
    for _ in range(100):
        await client.send(b"x" * 50_000)
        await client.recv()


def test_a_quota_ends_it() -> None:
    async def scenario() -> None:
        async with opened(quota=Quota(bytes_per_day=200_000)) as client:
            with pytest.raises(ConnectionClosed):
                await talk_on(client)

    run(scenario)


def test_it_ends_when_its_host_is_open_no_more() -> None:
    async def scenario() -> None:
        doors: list[MachineDoor] = []
        async with opened(seen=doors) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            doors[0].machine.change(access_of([], {}), known_at_s=asyncio.get_running_loop().time())
            with pytest.raises(ConnectionClosed):
                await client.recv()

    run(scenario)


def test_a_server_that_does_not_agree() -> None:
    async def scenario() -> None:
        authority = upstream_authority()
        async with http_upstream(fine, tls=authority.context("ws.test")) as up:
            access = access_of([pinned("ws.test", up.port)], {})
            async with machine_door(access, authority, up.port) as door:
                url = f"wss://ws.test:{up.port}/"
                with pytest.raises(InvalidStatus) as refused:
                    await connect(url, host="127.0.0.1", port=door.port, ssl=door.trusting, proxy=None)
                assert refused.value.response.status_code == 200

    run(scenario)


HANDSHAKE = "GET / HTTP/1.1\r\nHost: ws.test:{port}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
SHAPES = {
    "a body by length": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 5",
    "a body in chunks": (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nTransfer-Encoding: chunked"
    ),
    "another protocol": "Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Version: 13",
    "two protocols": "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Version: 13",
    "two upgrades": "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nSec-WebSocket-Version: 13",
    "another version": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8",
    "no connection": "Upgrade: websocket\r\nSec-WebSocket-Version: 13",
    "HTTP2-Settings": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nHTTP2-Settings: AAMA",
}


@pytest.mark.parametrize("lines", SHAPES.values(), ids=SHAPES.keys())
def test_odd_wishes_to_change_the_protocol(lines: str) -> None:
    async def scenario() -> None:
        authority = upstream_authority()
        async with http_upstream(fine, tls=authority.context("ws.test")) as up:
            access = access_of([pinned("ws.test", up.port)], {})
            async with machine_door(access, authority, up.port) as door:
                raw = (HANDSHAKE.format(port=up.port) + lines + "\r\n\r\n").encode() + b"0\r\n\r\n"
                assert (await door.talk(raw, host="ws.test")).startswith(b"HTTP/1.1 400 ")
                assert up.connections == []

    run(scenario)
