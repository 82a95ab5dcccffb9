"""Handing a door to a gateway that is away, comes late, refuses, says what it should not, or ends."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.tenant import TenantId
from subclaw.machines.network import gateway as gateway_module
from subclaw.machines.network.door import Door
from subclaw.machines.network.gateway import CERTIFICATE, GatewayAway, certificate_of, gateway_of, served

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\nAA==\n-----END CERTIFICATE-----\n"
GIVEN = json.dumps({"certificate": PEM}).encode() + b"\n"
REQUEST = b'{"tenant": "7"}\n'
TENANT = TenantId(7)
LIMIT_S = 20.0


class Gateway:
    """A gateway that answers what it is told to, in turn; an answer without a line's end is its last word."""

    def __init__(self, path: Path, *answers: bytes) -> None:
        self.path = path
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.handed: list[list[int]] = []
        self.connections: list[socket.socket] = []

    async def run(self) -> None:
        """Take whoever comes, until all answers are given."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as server:
            server.setblocking(False)
            server.bind(str(self.path))
            server.listen()
            for answer in self.answers:
                connection, _ = await loop.sock_accept(server)
                self.connections.append(connection)
                readable = asyncio.Event()
                loop.add_reader(connection, readable.set)
                await readable.wait()
                loop.remove_reader(connection)
                request, descriptors, _, _ = socket.recv_fds(connection, 4_096, 4)
                self.requests.append(request)
                self.handed.append(descriptors)
                await loop.sock_sendall(connection, answer)
                if not answer.endswith(b"\n"):
                    connection.close()

    def close(self) -> None:
        """Let everything go."""
        self.path.unlink(missing_ok=True)
        for connection in self.connections:
            connection.close()
        for number in (number for pair in self.handed for number in pair):
            os.close(number)


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[asyncio.Future[None]]:
    """Run a gateway; give what is done when it has said all."""
    said = asyncio.ensure_future(gateway.run())
    try:
        yield said
    finally:
        said.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await said
        gateway.close()


@pytest.fixture
def door() -> Iterator[Door]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as questions:
        yield Door(tap=-1, listener=listener, questions=questions)


Serve = Callable[[], contextlib.AbstractAsyncContextManager[str]]


def play(door: Door, path: Path | None, scenario: Callable[[Serve], Awaitable[None]]) -> None:
    """Play a scenario, which is given how to have the door served."""

    async def played() -> None:
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
            await scenario(lambda: served(door, path, TENANT, group))

    asyncio.run(played())


def test_both_sockets_are_handed_over_with_whose_they_are(door: Door, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "socket", GIVEN)

    async def scenario(serve: Serve) -> None:
        async with running(gateway):
            async with serve() as certificate:
                assert certificate == PEM
                assert gateway.requests == [REQUEST]
                ((listener, questions),) = gateway.handed
                assert os.fstat(listener) == os.fstat(door.listener.fileno())
                assert os.fstat(questions) == os.fstat(door.questions.fileno())
            (connection,) = gateway.connections
            assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""

    play(door, gateway.path, scenario)


def test_door_is_handed_over_again_until_a_gateway_keeps_it(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    # It refuses, ends in the middle of its answer, and says more than it should, before it is well.
    again = Gateway(path, b'{"error": "not yet"}\n', b'{"certif', GIVEN + b"more\n", GIVEN)

    async def scenario(serve: Serve) -> None:
        async with AsyncExitStack() as stack:
            async with running(Gateway(path, GIVEN)):
                await stack.enter_async_context(serve())
            async with running(again) as said:
                await said
                assert again.requests == [REQUEST] * 4
                assert len({tuple(os.fstat(number).st_ino for number in pair) for pair in again.handed}) == 1

    play(door, path, scenario)


def test_gateway_that_comes_late_is_waited_for(door: Door, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "socket", GIVEN)

    async def scenario(serve: Serve) -> None:
        async with AsyncExitStack() as stack:
            entering = asyncio.ensure_future(stack.enter_async_context(serve()))
            await asyncio.sleep(0)
            async with running(gateway):
                assert await entering == PEM

    play(door, gateway.path, scenario)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"error": "no such tenant"}\n', "no such tenant"),
        (b"hello\n", "not JSON"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b"7\n", "refuses"),
        (b'{"certificate": 7}\n', "refuses"),
        (b'{"certificate": "-----BEGIN CERTIFICATE-----"}\n', "refuses"),
        (json.dumps({"certificate": PEM + PEM}).encode() + b"\n", "refuses"),
        (b"x" * 100_000 + b"\n", "too long"),
    ],
)
def test_gateway_that_gives_no_certificate_is_of_no_use(door: Door, tmp_path: Path, answer: bytes, words: str) -> None:
    gateway = Gateway(tmp_path / "socket", answer)

    async def scenario(serve: Serve) -> None:
        async with running(gateway):
            with pytest.raises(GatewayAway) as caught:
                await serve().__aenter__()
            assert words in caught.value.internal

    play(door, gateway.path, scenario)


@pytest.mark.parametrize("listens", [False, True])
def test_gateway_that_is_not_there_or_silent_is_not_waited_for_long(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setattr(gateway_module, "ANSWER_S", 0.2)

    async def scenario(serve: Serve) -> None:
        with pytest.raises(GatewayAway):
            await serve().__aenter__()

    with socket.socket(socket.AF_UNIX) as server:
        if listens:
            server.bind(str(tmp_path / "socket"))
            server.listen()
        play(door, tmp_path / "socket", scenario)


def test_without_a_gateway_the_door_is_shut(door: Door) -> None:
    address = door.listener.getsockname()

    async def scenario(serve: Serve) -> None:
        async with serve() as certificate:
            assert certificate == ""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

    play(door, None, scenario)


def test_tenant_always_has_the_same_gateway() -> None:
    gateways = tuple(map(Path, "abc"))
    assert gateway_of((), TENANT) is None
    assert [gateway_of(gateways, TenantId(number)) for number in (3, 4, 5, 3)] == [Path(name) for name in "abca"]


@given(
    st.binary() | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_whatever_is_answered_is_a_certificate_or_refused(answer: bytes | str) -> None:
    with contextlib.suppress(GatewayAway):
        assert CERTIFICATE.fullmatch(certificate_of(answer if isinstance(answer, bytes) else answer.encode()))
