"""A secret in a message of a WebSocket's client: with a library at both ends, and frame by frame."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from subclaw.core.errors import Invalid
from subclaw.core.secret import PLACEHOLDER
from subclaw.core.upstream import Injection, Upstream
from subclaw.egress.control.client import gateway_client
from subclaw.egress.control.destination import destination
from subclaw.egress.control.messages import MESSAGE_LIMIT_BYTES, MESSAGES_LIMIT, MessageInjector
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.opened import Opened
from subclaw.testing.egress import run, running_gateway, talk

SECRET = "canary-0123456789abcdef"
MEMBER = ("d", "token")
IDENTIFY = json.dumps({"op": 2, "d": {"token": PLACEHOLDER, "name": "ü🎉"}})
Server = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def opened(folder: Path, server: Server, **client: object) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket of the control plane to a server, for a block."""
    async with serve(server, "127.0.0.1", 0) as up:
        port = next(iter(up.sockets)).getsockname()[1]
        upstream = Upstream(
            name="talk",
            base_url=f"http://127.0.0.1:{port}",
            injection=Injection.MESSAGE,
            member=MEMBER,
            secret="key",
            methods=("GET",),
        )
        other = Upstream(name="calls", base_url=f"http://127.0.0.1:{port}", secret="key", methods=("GET",))
        async with (
            running_gateway(folder, [upstream, other], {"key": SECRET}) as socket,
            unix_connect(str(socket), "ws://egress/talk/?v=1", proxy=None, **client) as connection,
        ):
            yield connection


def test_the_secret_is_put_into_the_first_message_that_is_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        heard: list[str | bytes] = []

        async def listen(server: ServerConnection) -> None:
            assert server.request is not None
            assert server.request.path == "/?v=1"
            assert "authorization" not in server.request.headers
            async for message in server:
                heard.append(message)
                await server.send(message)

        async with opened(tmp_path, listen) as client:
            assert client.protocol.extensions == []
            said = [
                '{"op": 1, "d": null}',
                f'{{"token": "{PLACEHOLDER}"}}',
                "[" * 5_000,
                IDENTIFY,
                IDENTIFY,
                "x" * 90_000,
            ]
            for message in said:
                await client.send(message)
            back = [await client.recv() for _ in said]
            await client.send([b"\0", b"\1"])
            assert await client.recv() == b"\0\1"
        assert json.loads(heard[3]) == {"op": 2, "d": {"token": SECRET, "name": "ü🎉"}}
        assert [heard[number] for number in (0, 1, 2, 4, 5)] == [said[number] for number in (0, 1, 2, 4, 5)]
        assert all(SECRET not in str(message) for message in back)  # what comes back is searched for it

    run(scenario)


@pytest.mark.parametrize(
    "said",
    [[b"binary"], [["{", "}"]], ["{}"] * (MESSAGES_LIMIT + 1), ["x" * (MESSAGE_LIMIT_BYTES + 1)]],
    ids=["binary", "in pieces", "many", "large"],
)
def test_what_cannot_be_looked_into_goes_no_further(tmp_path: Path, said: list[str | bytes | list[str]]) -> None:
    async def scenario() -> None:
        heard: list[str | bytes] = []

        async def listen(server: ServerConnection) -> None:
            heard.extend([message async for message in server])

        async with opened(tmp_path, listen) as client:
            for message in said:
                await client.send(message)
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert len(heard) <= MESSAGES_LIMIT
        assert heard == said[: len(heard)]
        assert len(heard) < len(said)

    run(scenario)


def test_only_such_an_upstream_takes_websockets_and_nothing_else(tmp_path: Path) -> None:
    async def listen(server: ServerConnection) -> None:
        await server.wait_closed()

    async def scenario() -> None:
        async with opened(tmp_path, listen):
            handshake = (
                b"GET /calls/ HTTP/1.1\r\nHost: egress\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert b"calls takes no WebSockets" in await talk(tmp_path / "egress.sock", handshake)
            other = handshake.replace(b"websocket\r\n", b"h2c\r\n").replace(b"/calls/", b"/talk/")
            assert (await talk(tmp_path / "egress.sock", other)).startswith(b"HTTP/1.1 400 ")
            async with gateway_client(tmp_path / "egress.sock") as client:
                response: httpx2.Response = await client.get("/talk/")
                assert (response.status_code, response.headers["x-egress-unsent"]) == (400, "1")

    run(scenario)


def frame(payload: bytes, *, first: int = 0x81, mask: bytes = b"\1\2\3\4") -> bytes:
    """Return a client's frame."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2)
    return bytes([first]) + length + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def unmasked(data: bytes) -> bytes:
    """Return what one frame says."""
    lengths = {126: 2, 127: 8}
    head = 2 + lengths.get(data[1] & 0x7F, 0)
    mask, payload = data[head : head + 4], data[head + 4 :]
    size = int.from_bytes(data[2:head]) if head > 2 else data[1] & 0x7F
    assert len(payload) == size
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize("secret", ["short-12", 'with "quotes" and ü', "long" * 20_000])
def test_frames_byte_by_byte(secret: str) -> None:
    injector, out = MessageInjector(MEMBER, Opened(secret)), b""
    ping, after = frame(b"hello", first=0x89), b"anything at all"
    for byte in ping + frame(IDENTIFY.encode()):
        out += injector.feed(bytes([byte]))
    assert out.startswith(ping)
    assert json.loads(unmasked(out[len(ping) :]))["d"]["token"] == secret
    assert injector.feed(after) == after


def test_what_comes_with_the_message_goes_on_with_it() -> None:
    injector = MessageInjector(MEMBER, Opened(SECRET))
    rest = b"\x82\xff and no frame"
    assert injector.feed(frame(IDENTIFY.encode()) + rest).endswith(rest)


@pytest.mark.parametrize("data", [b"\x81\x05hello", frame(b"{}", first=0xC1), frame(b"{}", first=0x01)])
def test_frames_that_no_client_may_send_so_early(data: bytes) -> None:
    with pytest.raises(Refusal):
        MessageInjector(MEMBER, Opened(SECRET)).feed(data)


@pytest.mark.parametrize("fields", [{"member": ()}, {"secret": None}, {"scheme": "Two words"}])
def test_an_upstream_that_lacks_what_it_needs(fields: dict[str, object]) -> None:
    given: dict[str, object] = {"injection": Injection.MESSAGE, "member": MEMBER, "secret": "key", **fields}
    with pytest.raises(Invalid):
        destination(Upstream(name="talk", base_url="https://talk.example", **given))  # type: ignore[arg-type]
