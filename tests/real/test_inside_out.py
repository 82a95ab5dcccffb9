"""Attacks from the inside: root in a machine does its worst. Its host and its neighbour stay well; its tenant is told.

Around every attack the neighbour's machine answers a command quickly, the host's memory stays as it was, no process is
left over, and the attacker's next command works, in the same machine or in a new start of it.
"""

import asyncio
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
from tests.real import attacks
from tests.real.machines import Host, eventually, golden_image, running_host, socket_at, status_of

from subclaw.core.errors import Exhausted, Unavailable
from subclaw.core.machine import Command, Ended
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.machines.images.image import has_its_sums
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

ATTACKER, NEIGHBOUR, OTHER_ATTACKER, THIRD_ATTACKER = 1, 2, 3, 4
ANSWER_S = 5.0
"""In how many seconds the neighbour is answered; it takes a tenth of one where nobody attacks."""

PAUSE_S = 0.2
FLAT_BYTES = 20_000_000
STOPPED = "The machine stopped in the middle of this; whether it was done is unknown."
INODES = 2_048
HANG_S = 10.0
"""How long a command may take that makes its machine hang: the host waits for half a minute more."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    with fresh_database(cluster) as address, running_host(folder, address, awake_limit=4) as host:
        host.run(ATTACKER, "echo kept > kept; sync")
        yield host


@pytest.fixture(autouse=True)
def well(host: Host) -> Iterator[None]:
    """Show that an attack does no harm to anybody else."""
    host.run(ATTACKER, "true")
    process = psutil.Process(host.process.pid)
    before_bytes = process.memory_info().rss
    with neighbour_answers(host):
        yield
    assert host.run(ATTACKER, "cat kept").output == b"kept\n"
    assert process.memory_info().rss - before_bytes < FLAT_BYTES
    assert status_of(host, NEIGHBOUR).generation == 1
    eventually(
        lambda: len(host.machines()) == len(host.use(lambda client: client.statuses())), "a process is left over"
    )


@contextmanager
def neighbour_answers(host: Host) -> Iterator[None]:
    """Have the neighbour run small commands all the time, and show that each was answered in time."""
    over = threading.Event()

    def longest_s() -> float:
        longest_s, asked = 0.0, 0
        while not asked or not over.wait(PAUSE_S):
            began_s = time.monotonic()
            assert host.run(NEIGHBOUR, "echo well").output == b"well\n"
            # The first may have to start the machine.
            longest_s = max(longest_s, time.monotonic() - began_s) if asked else 0.0
            asked += 1
        return longest_s

    with ThreadPoolExecutor(1) as threads:
        answered = threads.submit(longest_s)
        try:
            yield
        finally:
            over.set()
        assert answered.result() < ANSWER_S


def generation(host: Host) -> int:
    """Return which start of the attacker's machine this is."""
    return status_of(host, ATTACKER).generation


def put(host: Host, name: str, program: str, *, tenant_id: int = ATTACKER) -> None:
    """Write a program into a machine."""
    host.use(lambda client: client.write(TenantId(tenant_id), name, program.encode()))


def told(host: Host, text: str, *, tenant_id: int = ATTACKER, timeout_s: float = 60.0) -> str:
    """Run a command that cannot end well, and return what the tenant is told."""
    with pytest.raises(Unavailable) as caught:
        host.run(tenant_id, text, timeout_s=timeout_s)
    return caught.value.public


def test_fork_bomb(host: Host) -> None:
    before = generation(host)
    assert host.run(ATTACKER, attacks.FORK_BOMB, timeout_s=2.0).ended is Ended.TIMED_OUT
    assert host.run(ATTACKER, "echo back").output == b"back\n"
    assert generation(host) == before


def test_fork_bomb_that_outlives_its_command(host: Host) -> None:
    before = generation(host)
    assert host.run(ATTACKER, attacks.FORK_BOMB_OF_SESSIONS, timeout_s=5.0).ended is Ended.TIMED_OUT
    assert host.run(ATTACKER, "echo back").output == b"back\n"
    host.run(ATTACKER, attacks.KILL_EVERYTHING)
    eventually(lambda: host.run(ATTACKER, "echo back | cat").output == b"back\n", "there is no room for a process")
    eventually(lambda: host.run(ATTACKER, attacks.COUNT_GROUPS).output == b"1\n", "a control group is left over")
    assert generation(host) == before


@pytest.mark.parametrize("bomb", attacks.MEMORY_BOMBS)
def test_memory_bomb(host: Host, bomb: str) -> None:
    before = generation(host)
    result = host.run(ATTACKER, attacks.MEMORY_BOMBS[bomb])
    assert (result.exit_status, result.output) == (137, b"Killed\n")
    assert generation(host) == before


def test_output_flood(host: Host) -> None:
    result = host.run(ATTACKER, attacks.OUTPUT_FLOOD, timeout_s=2.0)
    assert result.ended is Ended.TIMED_OUT
    assert result.output_bytes > 1_000_000
    assert len(result.output) == 16_384


def test_full_disk(host: Host) -> None:
    assert b"No space left" in host.run(ATTACKER, attacks.FILL_DISK).output
    with pytest.raises(Exhausted) as caught:
        put(host, "more", "x" * 1_000_000)
    assert caught.value.public == "The machine's disk is full."
    host.use(lambda client: client.sleep(TenantId(ATTACKER)))
    assert host.run(ATTACKER, "rm most rest; echo room > file; cat file").output == b"room\n"


def test_no_inodes_left(host: Host) -> None:
    host.run(OTHER_ATTACKER, "true")
    host.use(lambda client: client.sleep(TenantId(OTHER_ATTACKER)))
    disk = host.home / "machines" / str(OTHER_ATTACKER) / "disk.raw"
    subprocess.run(["/sbin/mkfs.ext4", "-qF", "-N", str(INODES), str(disk)], check=True)
    assert b"No space left" in host.run(OTHER_ATTACKER, attacks.FILL_INODES).output
    for _ in range(2):
        with pytest.raises(Exhausted) as caught:
            put(host, "one more", "", tenant_id=OTHER_ATTACKER)
        assert caught.value.public == "The machine's disk is full."
        assert host.run(OTHER_ATTACKER, "true").exit_status == 0
        host.use(lambda client: client.sleep(TenantId(OTHER_ATTACKER)))
    assert host.run(OTHER_ATTACKER, "rm -r many; echo room > file; cat file").output == b"room\n"
    host.use(lambda client: client.destroy(TenantId(OTHER_ATTACKER)))


@pytest.mark.parametrize("what", attacks.FRAMES)
def test_frames_that_cannot_be(host: Host, what: str) -> None:
    before = generation(host)
    content, times, zeros = attacks.FRAMES[what]
    put(host, "write_port.py", attacks.WRITE_PORT)
    assert told(host, f"python3 write_port.py {content.hex()} {times} {zeros}; sleep 60").startswith(STOPPED)
    host.run(ATTACKER, "true")
    assert generation(host) == before + 1


def test_connection_that_is_never_read(host: Host) -> None:
    put(host, "never_read.py", attacks.NEVER_READ)
    host.run(ATTACKER, "rm -f listening; python3 never_read.py & until [ -e listening ]; do sleep 0.05; done")
    path = socket_at(host.use(lambda client: client.forward(TenantId(ATTACKER), 8003)))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"POST / HTTP/1.0\r\nContent-Length: 1000000000\r\n\r\n")
        connection.setblocking(False)
        sent_bytes = 0
        while select.select([], [connection], [], 1.0)[1]:
            sent_bytes += connection.send(bytes(65_536))
        assert 0 < sent_bytes < FLAT_BYTES
        put(host, "other", "x" * 1_000_000)
        assert host.run(ATTACKER, "wc -c < other").output == b"1000000\n"
    host.run(ATTACKER, "pkill -f never_read")


def test_wrong_clock(host: Host) -> None:
    assert b"2001" in host.run(ATTACKER, "date -s 2001-01-01; stay-awake 1h; sleep 600 &").output
    assert host.run(ATTACKER, "date +%Y").output == b"2001\n"
    assert abs(int(host.run(NEIGHBOUR, "date +%s").output) - time.time()) < 2
    host.use(lambda client: client.sleep(TenantId(ATTACKER)))
    assert abs(int(host.run(ATTACKER, "date +%s; stay-awake off; pkill sleep").output) - time.time()) < 2


@pytest.mark.parametrize("way", [attacks.CRASH, attacks.POWER_OFF, attacks.RESTART], ids=["panic", "off", "restart"])
def test_machine_that_ends_itself(host: Host, way: str) -> None:
    before = generation(host)
    assert told(host, way).startswith(STOPPED)
    host.run(ATTACKER, "true")
    assert generation(host) == before + 1


def test_machines_that_hang(host: Host) -> None:
    """One is halted, the agent of another is held, and a third, full of processes, goes to sleep."""

    async def keep_writing(client: HostClient, tenant_id: TenantId) -> None:
        while True:
            await client.write(tenant_id, "other", b"content")

    async def hung(client: HostClient, tenant_id: TenantId, text: str) -> None:
        hang = client.run(tenant_id, Command(text=text, timeout_s=HANG_S))
        for error in await asyncio.gather(hang, keep_writing(client, tenant_id), return_exceptions=True):
            assert isinstance(error, Unavailable), error
            assert error.public.startswith(STOPPED)

    async def crowded(client: HostClient, tenant_id: TenantId) -> None:
        await client.run(tenant_id, Command(text=attacks.FORK_BOMB_OF_SESSIONS, timeout_s=1.0))
        await client.sleep(tenant_id)
        assert (await client.run(tenant_id, Command(text="echo back", timeout_s=60))).output == b"back\n"

    async def scenario(client: HostClient) -> None:
        other, third = TenantId(OTHER_ATTACKER), TenantId(THIRD_ATTACKER)
        await client.write(other, "hold.py", attacks.HOLD_AGENT.encode())
        await asyncio.gather(
            hung(client, TenantId(ATTACKER), attacks.HALT),
            hung(client, other, "setsid python3 hold.py & sleep 60"),
            crowded(client, third),
        )

    host.use(scenario)
    assert host.run(OTHER_ATTACKER, "cat held && echo back").output == b"back\n"


def test_everything_is_stopped_or_killed(host: Host) -> None:
    before = generation(host)
    assert host.run(ATTACKER, attacks.STOP_EVERYTHING).output == b"still\n"
    host.run(ATTACKER, "true")
    assert generation(host) == before


def test_golden_image_cannot_be_changed(host: Host) -> None:
    result = host.run(ATTACKER, attacks.WRITE_GOLDEN)
    assert b"changed\n" not in result.output
    assert result.output.count(b"Operation not permitted") == 2, result.output
    assert b"write-protected" in result.output
    assert has_its_sums(golden_image()[1])


def test_port_is_taken_away(host: Host) -> None:
    assert told(host, attacks.UNBIND_PORT).startswith(STOPPED)


def test_disk_is_taken_away(host: Host) -> None:
    host.run(ATTACKER, attacks.UNBIND_DISK)
    assert b"Input/output error" in host.run(ATTACKER, "echo new > file").output
    host.use(lambda client: client.sleep(TenantId(ATTACKER)))


def test_root_is_unmounted(host: Host) -> None:
    before = generation(host)
    host.run(ATTACKER, attacks.UNMOUNT)
    words = told(host, "true")
    assert "could not be started" in words
    assert "next call starts the machine anew" in words
    host.run(ATTACKER, "true")
    assert generation(host) == before + 1


def test_shell_that_never_ends(host: Host) -> None:
    host.run(ATTACKER, attacks.NEVER_ENDS)
    assert host.run(ATTACKER, "true", timeout_s=1.0).ended is Ended.TIMED_OUT
    put(host, "forever", '#!/bin/bash\nexec /bin/dash "$@"\n')
    assert host.run(ATTACKER, "ln -sf dash /bin/sh; echo mended").output == b"mended\n"


def test_nobody_is_reached(host: Host) -> None:
    host.run(NEIGHBOUR, "python3 -m http.server 8004 >/dev/null 2>&1 &")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        put(host, "connect.py", attacks.CONNECT_OUT)
        addresses = " ".join(host_addresses())
        for tried in (port, 8004):
            output = host.run(ATTACKER, f"python3 connect.py {tried} {addresses}").output
            assert b"answered" not in output
            assert b"tried" in output
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    found = host.run(ATTACKER, "ls /sys/class/net /dev/vsock /dev/net /dev/kvm 2>/dev/null").output
    assert found == b"/sys/class/net:\neth0\nlo\n"


def host_addresses() -> list[str]:
    """Return this host's own addresses (IPv4)."""
    found = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    return [address.address for address in found if address.family is socket.AF_INET]
