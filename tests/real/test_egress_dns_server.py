"""The machines' DNS on real sockets, asked by real resolvers, which take it for the only one there is."""

import asyncio
import json
import logging
import select
import socket
import subprocess
import sys

import dns.message
import pytest
import uvloop

from subclaw.egress.names.dns import answer
from subclaw.egress.names.resolver import HostResolver
from subclaw.egress.names.server import BURST, RATE_PER_S, DnsServer, Rate, name_rate, serve_dns

KEY = b"a secret of the host"
QUERY = dns.message.make_query("api.test", "A", id=7).to_wire()
DEADLINE_S = 20.0

# A namespace without any other network, where the resolvers find the server at the address they expect.
PROGRAM = """
import asyncio, json, pathlib, socket, subprocess, tempfile
from subclaw.egress.names.server import name_rate, serve_dns

def found(name, family):
    try:
        return sorted({entry[4][0] for entry in socket.getaddrinfo(name, 443, family, socket.SOCK_STREAM)})
    except socket.gaierror as error:
        return socket.EAI_NONAME == error.errno and "no such name" or error.strerror

async def main():
    listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 53))
    listener.setblocking(False)
    transport = await serve_dns(listener, b"key", name_rate())
    families = [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6]
    asked = [("API.Test", 0), ("printer.local", 0), *[("api.test", family) for family in families]]
    answers = [await asyncio.to_thread(found, *question) for question in asked]
    dig = await asyncio.create_subprocess_exec("dig", "+tries=1", "data.evil.test", stdout=subprocess.PIPE)
    print(json.dumps([answers, (await dig.communicate())[0].decode()]))
    transport.close()

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with tempfile.TemporaryDirectory() as folder:
    for name, content in (("resolv.conf", "nameserver SERVER\\n"), ("nsswitch.conf", "hosts: dns\\n"), ("hosts", "")):
        file = pathlib.Path(folder, name)
        file.write_text(content)
        subprocess.run(["mount", "--bind", file, f"/etc/{name}"], check=True)
    asyncio.run(main())
"""


class _Asker(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.replies: asyncio.Queue[tuple[bytes, tuple[object, ...]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        self.replies.put_nowait((data, addr))


def bound() -> socket.socket:
    """Return a UDP socket of both families, at a free port."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 0))
    listener.setblocking(False)
    return listener


@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
def test_resolvers_are_content(server: str) -> None:
    program = [sys.executable, "-c", PROGRAM.replace("SERVER", server)]
    done = subprocess.run(
        ["unshare", "--net", "--mount", *program], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    answers, dig = json.loads(done.stdout)
    expected = [_address("api.test")]
    nothing = "No address associated with hostname"
    assert answers == [expected, "no such name", expected, expected, nothing]
    assert "status: NOERROR" in dig
    assert f"{_address('data.evil.test')}\n" in dig
    assert "WARNING" not in dig


def _address(name: str) -> str:
    raw = answer(dns.message.make_query(name, "A").to_wire(), b"key")
    assert raw is not None
    return str(dns.message.from_wire(raw).answer[0][0].to_text())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_whoever_asks_is_answered_and_nothing_is_logged(host: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        listener = bound()
        port = listener.getsockname()[1]
        server = await serve_dns(listener, KEY, name_rate())
        transport, asker = await asyncio.get_running_loop().create_datagram_endpoint(_Asker, remote_addr=(host, port))
        async with asyncio.timeout(DEADLINE_S):
            for message in (b"", b"?", QUERY[:11], b"\xff" * 40):
                transport.sendto(message)  # none of these is answered, and the next one is
            transport.sendto(QUERY)
            assert (await asker.replies.get())[0] == answer(QUERY, KEY)
        assert asker.replies.empty()
        transport.close()
        server.close()

    caplog.set_level(logging.DEBUG, logger="subclaw")
    for run in (asyncio.run, uvloop.run):
        run(scenario())
    assert not [record for record in caplog.records if record.name != "asyncio"]


def test_another_c_library_is_content() -> None:
    async def scenario() -> None:
        listener = bound()
        server = await serve_dns(listener, b"key", name_rate())
        resolver = HostResolver([f"127.0.0.1:{listener.getsockname()[1]}"])
        assert [str(address) for address in await resolver.resolve("api.test")] == [_address("api.test")]
        await resolver.close()
        server.close()

    uvloop.run(scenario())


def test_a_flood_is_answered_up_to_a_rate() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        now_s = 100.0
        listener = bound()
        port = listener.getsockname()[1]
        server, _ = await loop.create_datagram_endpoint(
            lambda: DnsServer(KEY, Rate(10, 5), lambda: now_s), sock=listener
        )
        transport, asker = await loop.create_datagram_endpoint(_Asker, remote_addr=("127.0.0.1", port))
        async with asyncio.timeout(DEADLINE_S):
            for number in range(20):
                transport.sendto(number.to_bytes(2) + QUERY[2:])
            first = [await asker.replies.get() for _ in range(5)]
            while select.select([listener], [], [], 0)[0]:
                await asyncio.sleep(0)
            now_s += 0.2
            transport.sendto(b"\xff\xff" + QUERY[2:])
            last, _ = await asker.replies.get()
        assert [int.from_bytes(data[:2]) for data, _ in first] == [0, 1, 2, 3, 4]
        assert last[:2] == b"\xff\xff"
        assert asker.replies.empty()
        transport.close()
        server.close()

    asyncio.run(scenario())


def test_a_rate_fills_up_to_its_burst() -> None:
    rate = Rate(RATE_PER_S, BURST)
    assert [rate.take(5.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert [rate.take(5.0125) for _ in range(3)] == [True, True, False]
    assert sum(rate.take(1_000.0) for _ in range(2 * BURST)) == BURST
