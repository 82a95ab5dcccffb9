"""The only way out of a machine: whatever it tries, it reaches the gateway, by its own door, or nothing."""

import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.real.fake_gateway import ADDRESS, Authority, FakeGateway, fake_gateway
from tests.real.machines import Host, eventually, running_host, socket_at, status_of

from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

REACH = """
import socket, sys
for address, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            print(connection.recv(4096).decode())
    except OSError as error:
        print(address, port, error.__class__.__name__)
"""
ASK = """
import socket, sys
for address, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        connection.settimeout(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            connection.sendto(b"hello", (address, port))
            print(*connection.recvfrom(4096)[::-1])
        except OSError as error:
            print(address, port, error.__class__.__name__)
"""
TARGETS = [
    (ADDRESS, 80),
    ("2001:db8::7", 8443),
    ("10.0.2.2", 1080),
    ("10.0.2.2", 22),
    ("fd00::2", 5432),
    ("169.254.169.254", 80),
    ("192.168.0.1", 53),
    ("100.100.100.200", 80),
    ("64:ff9b::a9fe:a9fe", 80),
    ("255.0.0.1", 65_535),
]
KEEP_ONE = """
import socket, time
with socket.create_connection(("203.0.113.7", 443)) as connection:
    open("connected", "w").close()
    while True:
        time.sleep(0.05)
        try:
            connection.send(b"x")
        except OSError as error:
            open("ended", "w").write(error.__class__.__name__)
            break
time.sleep(600)
"""


@contextmanager
def host_with_gateway(folder: Path, cluster: DatabaseAddress, **settings: Any) -> Iterator[tuple[Host, Path]]:
    """Run a host whose gateway, if there is one, listens on the path."""
    path = folder / "gateway.sock"
    with (
        fresh_database(cluster) as address,
        running_host(folder, address, egress_sockets=[str(path)], **settings) as host,
    ):
        yield host, path


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress
) -> Iterator[tuple[Host, Path, dict[str, Authority]]]:
    authorities: dict[str, Authority] = {}
    with host_with_gateway(tmp_path_factory.mktemp("host"), cluster) as (host, path):
        yield host, path, authorities


@pytest.fixture
def host(scene: tuple[Host, Path, dict[str, Authority]]) -> Host:
    return scene[0]


@pytest.fixture
def gateway(scene: tuple[Host, Path, dict[str, Authority]]) -> Iterator[FakeGateway]:
    with fake_gateway(scene[1], scene[2]) as gateway:
        yield gateway


def words(targets: list[tuple[str, int]]) -> str:
    """Return addresses and ports as a program's arguments."""
    return " ".join(f"{address} {port}" for address, port in targets)


def python(host: Host, program: str, arguments: str = "", *, tenant: int = 1) -> list[str]:
    """Run a Python program in a machine and return its lines."""
    host.use(lambda client: client.write(TenantId(tenant), "program.py", program.encode()))
    return host.run(tenant, f"python3 program.py {arguments}").output.decode().splitlines()


def sleep(host: Host, tenant: int) -> None:
    """Put a machine to sleep."""
    host.use(lambda client: client.sleep(TenantId(tenant)))


def test_every_connection_arrives_at_the_gateway_with_where_it_was_going(host: Host, gateway: FakeGateway) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        own = [
            (address.address, server.getsockname()[1])
            for addresses in psutil.net_if_addrs().values()
            for address in addresses
            if address.family is socket.AF_INET and not address.address.startswith("127.")
        ]
        targets = [*TARGETS, *own]
        lines = python(host, REACH, words(targets))
        assert [json.loads(line) for line in lines] == [["1", *target] for target in targets]
        assert gateway.of(1).arrived == targets
        assert not select.select([server], [], [], 0)[0]


def test_only_questions_to_name_servers_are_answered_whoever_they_are_for(host: Host, gateway: FakeGateway) -> None:
    asked = [("8.8.8.8", 53), ("2001:db8::1", 53), ("10.0.2.2", 53)]
    lines = python(host, ASK, words(asked))
    assert lines == [
        "('8.8.8.8', 53) b'hello'",
        "('2001:db8::1', 53, 0, 0) b'hello'",
        "('10.0.2.2', 53) b'hello'",
    ]
    others = [("8.8.8.8", 443), ("2001:db8::1", 123), ("10.0.2.2", 5353), ("10.0.2.255", 5353), ("224.0.0.251", 5353)]
    lines = python(host, ASK, words(others))
    assert lines == [f"{address} {port} TimeoutError" for address, port in others]
    assert gateway.of(1).asked == [b"hello"] * len(asked)


def test_names_are_resolved_by_the_gateway(host: Host, gateway: FakeGateway) -> None:
    assert host.run(1, "getent ahostsv4 anything.example | head -1").output.split()[0] == ADDRESS.encode()
    assert any(b"\x08anything\x07example" in question for question in gateway.of(1).asked)


def test_two_machines_are_told_apart_by_their_doors(host: Host, gateway: FakeGateway) -> None:
    for tenant in (1, 2):
        (line,) = python(host, REACH, f"{ADDRESS} 80", tenant=tenant)
        assert json.loads(line) == [str(tenant), ADDRESS, 80]
    assert len(gateway.of(1).arrived) == len(gateway.of(2).arrived) == 1


def test_certificates_of_the_gateway_are_trusted_by_what_agents_use(
    host: Host, gateway: FakeGateway, scene: tuple[Host, Path, dict[str, Authority]]
) -> None:
    url = "https://site.example/"
    told = json.dumps(["1", ADDRESS, 443])
    programs = {
        "curl": f"curl -sS {url}",
        "python": f"python3 -c 'import urllib.request as r; print(r.urlopen(\"{url}\").read().decode())'",
        "requests": "python3 -c 'from pip._vendor import requests; print(requests.get(\"" + url + "\").text)'",
        "bun": f"bun -e 'console.log(await (await fetch(\"{url}\")).text())'",
    }
    for name, text in programs.items():
        assert host.run(1, text).output.decode().strip() == told, name
    assert host.run(1, f"git ls-remote {url}repository").exit_status == 0
    pem = scene[2]["1"].pem
    kept = host.run(1, "cat /usr/local/share/ca-certificates/subclaw.crt; tail -c 3 /etc/ssl/certs/ca-certificates.crt")
    assert kept.output.decode() == pem + pem[-3:]
    sleep(host, 1)
    counted = "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt"
    before = int(host.run(1, counted).output)
    scene[2].pop("1")
    sleep(host, 1)
    assert int(host.run(1, counted).output) == before
    assert host.run(1, programs["curl"]).output.decode() == told
    assert scene[2]["1"].pem != pem


def test_other_machines_certificates_are_not_trusted(
    host: Host, gateway: FakeGateway, scene: tuple[Host, Path, dict[str, Authority]]
) -> None:
    host.run(1, "true")
    host.run(2, "true")
    scene[2]["1"], scene[2]["2"] = scene[2]["2"], scene[2]["1"]
    try:
        assert b"certificate" in host.run(2, "curl -sS https://site.example/ 2>&1").output
    finally:
        scene[2]["1"], scene[2]["2"] = scene[2]["2"], scene[2]["1"]


def test_sleep_with_memory_ends_connections_and_nothing_else(host: Host, gateway: FakeGateway) -> None:
    host.use(lambda client: client.write(TenantId(3), "keep.py", KEEP_ONE.encode()))
    host.run(3, "python3 keep.py >/dev/null 2>&1 & while ! [ -e connected ]; do sleep 0.05; done")
    before = gateway.of(3)
    sleep(host, 3)
    assert before.gone.wait(10)
    waited = "while ! [ -s ended ]; do sleep 0.05; done; cat ended; echo; pgrep -f '^python3 keep.py'"
    end, process = host.run(3, waited).output.split()
    assert end in (b"ConnectionResetError", b"BrokenPipeError")
    assert process.isdigit()
    (line,) = python(host, REACH, f"{ADDRESS} 80", tenant=3)
    assert json.loads(line) == ["3", ADDRESS, 80]
    assert gateway.of(3) is not before
    host.run(3, "pkill -f keep.py")


def test_gateway_that_is_away_is_waited_for(host: Host, scene: tuple[Host, Path, dict[str, Authority]]) -> None:
    with fake_gateway(scene[1], scene[2]):
        host.use(lambda client: client.write(TenantId(1), "program.py", REACH.encode()))
    host.run(1, f"python3 program.py {ADDRESS} 80 >answer 2>&1 &")
    with fake_gateway(scene[1], scene[2]) as gateway:
        eventually(lambda: gateway.doors, "the door is not handed over again")
        answered = "while ! [ -s answer ]; do sleep 0.05; done; cat answer"
        assert json.loads(host.run(1, answered).output) == ["1", ADDRESS, 80]


def test_without_its_gateway_no_machine_wakes_and_what_runs_is_kept(
    host: Host, scene: tuple[Host, Path, dict[str, Authority]]
) -> None:
    with fake_gateway(scene[1], scene[2]):
        host.run(4, "sleep 600 >/dev/null 2>&1 &")
        sleep(host, 4)
    assert (host.home / "machines" / "4" / "snapshot").is_dir()
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            host.run(4, "true")
        assert "way to the outside" in caught.value.public
    with fake_gateway(scene[1], scene[2]):
        assert host.run(4, "pgrep -c -x sleep; pkill -x sleep").output == b"1\n"


def test_gateway_hears_of_a_machines_end_however_it_ends(host: Host, gateway: FakeGateway) -> None:
    host.run(5, "true")
    os.kill(status_of(host, 5).process_id, signal.SIGKILL)
    assert gateway.of(5).gone.wait(10)
    host.run(5, "true")
    host.use(lambda client: client.destroy(TenantId(5)))
    assert gateway.of(5).gone.wait(10)


def test_nothing_is_kept_open_for_machines_that_sleep(host: Host, gateway: FakeGateway) -> None:
    def kept() -> list[str]:
        found = []
        for path in Path(f"/proc/{host.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(path))
        return found

    def only_in_stock() -> bool:
        return kept().count("/dev/net/tun") == 1

    for tenant in range(1, 7):
        sleep(host, tenant)
    host.run(6, "true")
    eventually(lambda: kept().count("/dev/net/tun") == 2, "there is no door in stock")
    sleep(host, 6)
    eventually(only_in_stock, "a cable is left open")
    before = len(kept())
    for _ in range(3):
        host.run(6, "true")
        sleep(host, 6)
        eventually(only_in_stock, "a cable is left open")
    # A call that has just been answered may still have been open before.
    eventually(lambda: len(kept()) <= before, "descriptors are left open")


def test_forward_leads_in_as_before(host: Host, gateway: FakeGateway) -> None:
    host.run(1, "python3 -m http.server --bind 127.0.0.1 8010 >/dev/null 2>&1 & sleep 0.1")
    path = socket_at(host.use(lambda client: client.forward(TenantId(1), 8010)))

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(path)
            connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.0 200")

    eventually(answers, "the server in the machine is not reached")
    host.run(1, "pkill -f http.server")


def test_machine_that_waits_is_served_when_it_is_a_tenants(tmp_path: Path, cluster: DatabaseAddress) -> None:
    with host_with_gateway(tmp_path, cluster, pool_size=1) as (host, path), fake_gateway(path, {}) as gateway:
        eventually(lambda: host.machines(), "no machine waits", timeout_s=60)
        assert gateway.doors == []
        for tenant in (1, 2):
            (line,) = python(host, REACH, f"{ADDRESS} 80", tenant=tenant)
            assert json.loads(line) == [str(tenant), ADDRESS, 80]


def test_host_that_is_killed_leaves_no_door_open(tmp_path: Path, cluster: DatabaseAddress) -> None:
    with ExitStack() as stack:
        host, path = stack.enter_context(host_with_gateway(tmp_path, cluster))
        gateway = stack.enter_context(fake_gateway(path, {}))
        host.run(1, "true")
        host.process.kill()
        assert gateway.of(1).gone.wait(10)
        host.process.wait()
        eventually(lambda: not host.processes(), "QEMU is left behind")


def test_without_any_gateway_everything_is_refused_at_once(tmp_path: Path, address: DatabaseAddress) -> None:
    with running_host(tmp_path, address) as host:
        began_s = time.monotonic()
        lines = python(host, REACH, words(TARGETS))
        assert lines == [f"{address} {port} ConnectionRefusedError" for address, port in TARGETS]
        assert b"Could not resolve" in host.run(1, "curl -sS http://site.example 2>&1").output
        assert time.monotonic() - began_s < 20
