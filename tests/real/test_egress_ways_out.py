"""A machine is handed over by the host alone, and whatever else comes by that way ends nobody's connections."""

import asyncio
import json
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from tests.real.handed import MESSAGE, answered, gateway, hand_over

from subclaw.egress.machines import ways_out as module
from subclaw.testing.egress import run
from subclaw.testing.egress_book import MemoryEgressBook

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


def bound(kind: socket.SocketKind) -> socket.socket:
    """Return a socket on loopback that listens, if it can."""
    made = socket.socket(socket.AF_INET6, kind)
    made.bind(("::1", 0))
    if kind is TCP:
        made.listen()
    return made


def with_gateway(
    path: Path, scenario: Callable[[MemoryEgressBook], Awaitable[None]], *, host_user: int | None = None
) -> None:
    """Run a scenario with a gateway, and see that it then still takes a machine over, and keeps nothing open."""

    async def bounded() -> None:
        book = MemoryEgressBook()
        async with asyncio.timeout(6), gateway(path, book, host_user=host_user):
            before = len(psutil.Process().net_connections("all"))
            await scenario(book)
            if host_user is None:
                await works(path)
            while len(psutil.Process().net_connections("all")) > before:
                await asyncio.sleep(0.01)

    run(bounded)


async def works(path: Path) -> None:
    """See that a machine is taken over and served until the host lets it go."""
    with bound(TCP) as listener, bound(UDP) as names, await hand_over(path, MESSAGE, [listener, names]) as connection:
        assert "certificate" in json.loads(await answered(connection))
        assert await asked(names.getsockname()[1])


async def asked(port: int) -> bool:
    """Return whether a question for a name is answered."""
    question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03api\x04test\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET6, UDP) as client:
        client.setblocking(False)
        client.connect(("::1", port))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, question)
        return (await loop.sock_recv(client, 512)).startswith(b"\x12\x34")


def test_a_machine_is_served_until_the_host_lets_it_go(tmp_path: Path) -> None:
    async def scenario(book: MemoryEgressBook) -> None:
        with bound(TCP) as listener, bound(UDP) as names:
            connection = await hand_over(tmp_path / "s", MESSAGE, [listener, names])
            first = await answered(connection)
            reader, writer = await asyncio.open_connection("::1", listener.getsockname()[1])
            connection.close()
            assert await reader.read() == b""
            writer.close()
            with await hand_over(tmp_path / "s", MESSAGE, [listener, names]) as again:
                assert await answered(again) == first

    with_gateway(tmp_path / "s", scenario)


GARBAGE = {
    "no JSON": b"\xff\xfe\n",
    "no object": b"[7]\n",
    "no tenant": b"{}\n",
    "no number": b'{"tenant": "seven"}\n',
    "infinite": b'{"tenant": Infinity}\n',
    "deep": b"[" * 4_000 + b"\n",
    "too long": b'{"tenant": "7", "x": "' + b"x" * 8_000 + b'"}\n',
    "null": b'{"tenant": null}\n',
}


@pytest.mark.parametrize("message", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused(message: bytes, tmp_path: Path) -> None:
    async def scenario(book: MemoryEgressBook) -> None:
        with bound(TCP) as listener, bound(UDP) as names:
            with await hand_over(tmp_path / "s", message, [listener, names]) as connection:
                assert json.loads(await answered(connection)) == {"error": "that is no machine"}
            assert book.reads == 0

    with_gateway(tmp_path / "s", scenario)


@pytest.mark.parametrize("kinds", [(), (TCP,), (UDP, TCP), (TCP, TCP), (TCP, UDP, UDP)], ids=str)
def test_other_sockets_are_refused(kinds: Sequence[socket.SocketKind], tmp_path: Path) -> None:
    async def scenario(book: MemoryEgressBook) -> None:
        with ExitStack() as stack:
            sockets = [stack.enter_context(bound(kind)) for kind in kinds]
            with await hand_over(tmp_path / "s", MESSAGE, sockets) as connection:
                said = await answered(connection)
                assert b"error" in said or len(kinds) > 2
            assert not book.reads or len(kinds) > 2

    with_gateway(tmp_path / "s", scenario)


def test_only_the_hosts_user_hands_over(tmp_path: Path) -> None:
    async def scenario(book: MemoryEgressBook) -> None:
        with bound(TCP) as listener, bound(UDP) as names:
            with await hand_over(tmp_path / "s", MESSAGE, [listener, names]) as connection:
                assert json.loads(await answered(connection)) == {"error": "only the machine host hands machines over"}
            assert book.reads == 0

    with_gateway(tmp_path / "s", scenario, host_user=os.getuid() + 1)


def test_whoever_says_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WORD_S", 0.05)

    async def scenario(book: MemoryEgressBook) -> None:
        with await hand_over(tmp_path / "s", b"", []) as connection:
            assert await answered(connection) == b""
        (await hand_over(tmp_path / "s", b"", [])).close()

    with_gateway(tmp_path / "s", scenario)


def test_a_host_that_is_killed_before_it_reads_its_answer_ends_no_others(tmp_path: Path) -> None:
    async def scenario(book: MemoryEgressBook) -> None:
        with (
            bound(TCP) as listener,
            bound(UDP) as names,
            bound(TCP) as other,
            bound(UDP) as its_names,
            await hand_over(tmp_path / "s", MESSAGE, [other, its_names]) as staying,
        ):
            await answered(staying)
            killed = await hand_over(tmp_path / "s", MESSAGE, [listener, names])
            assert await asked(names.getsockname()[1])  # so the answer is there, unread
            killed.close()
            assert await asked(its_names.getsockname()[1])
            await works(tmp_path / "s")
            assert await asked(its_names.getsockname()[1])

    with_gateway(tmp_path / "s", scenario)


def test_a_book_that_is_away_is_told(tmp_path: Path) -> None:
    async def scenario(book: MemoryEgressBook) -> None:
        book.down = True
        with (
            bound(TCP) as listener,
            bound(UDP) as names,
            await hand_over(tmp_path / "s", MESSAGE, [listener, names]) as connection,
        ):
            assert json.loads(await answered(connection)) == {"error": "The book is away."}
        book.down = False

    with_gateway(tmp_path / "s", scenario)


def test_no_free_descriptor_ends_nobodys_connections(tmp_path: Path) -> None:
    async def scenario(book: MemoryEgressBook) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX, TCP) as connection:
            connection.setblocking(False)
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            spare = [os.dup(connection.fileno()) for _ in range(highest)]  # so that no number below is free
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
            try:
                await asyncio.get_running_loop().sock_connect(connection, str(tmp_path / "s"))
                for _ in range(100):
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for each in spare:
                    os.close(each)

    with_gateway(tmp_path / "s", scenario)


def test_at_the_gateways_end_everything_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        with bound(TCP) as listener, bound(UDP) as names:
            async with gateway(tmp_path / "s", MemoryEgressBook()):
                connection = await hand_over(tmp_path / "s", MESSAGE, [listener, names])
                await answered(connection)
                reader, writer = await asyncio.open_connection("::1", listener.getsockname()[1])
            with connection:
                assert await answered(connection) == b""
            assert await reader.read() == b""
            writer.close()
            assert not (tmp_path / "s").exists()

    run(scenario)
