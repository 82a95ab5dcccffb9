"""A machine's network as it is: whatever a program there does, its packets end at the gateway, or nowhere."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nacl.public import PrivateKey
from tests.name_server import NameServer, name_server
from tests.real.cable import Cable, cable
from tests.real.egress_scene import PLACEHOLDER, SECRET, echo_target
from tests.real.handed import MESSAGE, answered, gateway, hand_over

from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.secret import Binding, BoundSecret, label
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import TenantPolicy
from subclaw.egress.seal import seal
from subclaw.testing.egress import run
from subclaw.testing.egress_book import MemoryEgressBook
from subclaw.testing.egress_machine import LOOPBACK, upstream_authority
from subclaw.testing.upstream import FakeUpstream, http_upstream

SEND = """
import socket, sys
for address, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(bytes.fromhex("12340100000100000000000003617069047465737400000100 01"), (address, port))
            print(address, port, client.recv(512)[:2].hex())
        except OSError as error:
            print(address, port, type(error).__name__)
"""


@dataclass(frozen=True, kw_only=True)
class Wired:
    """A machine's network with the gateway at its other end."""

    cable: Cable
    api: FakeUpstream
    book: MemoryEgressBook
    names: NameServer
    authority: Path

    async def inside(self, *command: str, timeout_s: float = 20) -> str:
        """Run a command in the machine's network; return what it says."""
        program = await asyncio.create_subprocess_exec(
            *self.cable.inside, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(timeout_s):
            said, _ = await program.communicate()
        return said.decode(errors="replace")

    async def curl(self, *arguments: str) -> str:
        """Run curl there."""
        trust = ("--cacert", str(self.authority), "--silent", "--show-error", "--max-time", "5")
        return await self.inside("curl", *trust, "--noproxy", "*", *arguments)


@asynccontextmanager
async def wired(tmp_path: Path) -> AsyncIterator[Wired]:
    """Hand such a network over to a gateway, for a block. api.test is open, with the secret; nothing else is."""
    authority, book = upstream_authority(), MemoryEgressBook()
    async with (
        name_server() as names,
        http_upstream(echo_target, tls=authority.context("api.test")) as api,
        gateway(tmp_path / "s", book, outside=authority, name_servers=[names.address]),
    ):
        book.put(TenantId(7), _policy(api.port))
        with cable() as made, await hand_over(tmp_path / "s", MESSAGE, [made.listener, made.questions]) as connection:
            trusted = tmp_path / "authority.pem"
            trusted.write_text(json.loads(await answered(connection))["certificate"])
            yield Wired(cable=made, api=api, book=book, names=names, authority=trusted)
        assert names.questions == []


def _policy(port: int) -> TenantPolicy:
    binding = Binding(hosts=("api.test",), ports=(port,))
    public_key = bytes(PrivateKey(bytes(range(32))).public_key)
    words = label("KEY", Scope.TENANT, TenantId(7), PLACEHOLDER, binding)
    secret = BoundSecret(
        id=1,
        name="KEY",
        scope=Scope.TENANT,
        tenant_id=TenantId(7),
        placeholder=PLACEHOLDER,
        binding=binding,
        sealed=seal(public_key, SECRET, words),
    )
    rule = Rule(host="api.test", ports=(port,), mode=Mode.INSPECT, addresses=LOOPBACK)
    return TenantPolicy(rules=(rule,), secrets=(secret,))


def test_what_is_allowed_arrives_whatever_address_it_is_dialled_at(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with wired(tmp_path) as at:
            url, key = f"https://api.test:{at.api.port}/x", f"Authorization: Bearer {PLACEHOLDER}"
            for address in ("203.0.113.9", "2001:db8::9", "169.254.169.254", "127.0.0.2", "8.8.8.8"):
                for version in ("--http1.1", "--http2"):
                    pinned = ("--resolve", f"api.test:{at.api.port}:{address}")
                    said = await at.curl(version, *pinned, "--header", key, url)
                    assert said == "/x" or address.startswith("127."), said
            assert {seen.headers["authorization"] for seen in at.api.requests} == {f"Bearer {SECRET}"}
            assert len(at.api.requests) == 8

    run(scenario)


def test_a_program_that_goes_round_its_proxy_reaches_the_gateway_or_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with wired(tmp_path) as at:
            for address in ("203.0.113.9", "2001:db8::9"):
                pinned = ("--resolve", f"evil.test:443:{address}", "--resolve", f"evil.test:80:{address}")
                assert "not on the list of hosts" in await at.curl(*pinned, "https://evil.test/")
                assert "not on the list of hosts" in await at.curl(*pinned, "http://evil.test/")
            for target in ("https://203.0.113.9/", "https://[2001:db8::9]/"):
                assert "curl: (" in await at.curl("--insecure", target)
            assert "a hostname is needed" in await at.curl("http://169.254.169.254/latest/meta-data")
            assert "the host must be a name" in await at.curl("http://[fd00::2]:80/")
            for port in ("22", "25", "853", "5432"):
                assert "curl: (" in await at.curl("--insecure", f"https://203.0.113.9:{port}/")
            assert at.api.connections == []

    run(scenario)


def test_no_datagram_goes_anywhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with wired(tmp_path) as at:
            targets = [
                "8.8.8.8",
                "443",
                "2001:db8::9",
                "443",
                "203.0.113.9",
                "123",
                "10.0.2.2",
                "5353",
                "8.8.8.8",
                "853",
            ]
            said = await at.inside(sys.executable, "-c", SEND, *targets)
            assert [line.split()[-1] for line in said.splitlines()] == ["TimeoutError"] * 5, said
            asked = await at.inside(sys.executable, "-c", SEND, "8.8.8.8", "53", "2001:db8::9", "53", "10.0.2.2", "53")
            assert [line.split()[-1] for line in asked.splitlines()] == ["1234"] * 3, asked

    run(scenario)


def test_names_over_tls_and_https_are_hosts_like_any_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with wired(tmp_path) as at:
            pinned = ("--resolve", "dns.test:443:8.8.8.8", "--resolve", "dns.test:853:8.8.8.8")
            assert "not on the list" in await at.curl(*pinned, "https://dns.test/dns-query?dns=AAAB")
            assert "not on the list" in await at.curl(*pinned, "https://dns.test:853/")

    run(scenario)


def test_many_programs_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with wired(tmp_path) as at:
            url = f"https://api.test:{at.api.port}/"
            pinned = ("--resolve", f"api.test:{at.api.port}:203.0.113.9")
            said = await asyncio.gather(*(at.curl(*pinned, f"{url}{number}") for number in range(12)))
            assert said == [f"/{number}" for number in range(12)]

    run(scenario)
