"""Real machines: what survives, what is contained, and what a machine that dies or misbehaves does to its callers."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from tests.real.machines import Host, eventually, running_host, socket_at, status_of

from subclaw.core.errors import Corrupt, Exhausted, SubclawError, Unavailable
from subclaw.core.machine import Command, CommandResult, Ended
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

FLAT_BYTES = 30_000_000
GIGABYTE = 1_000_000_000
GROWTH_BYTES = 2 * 1024**3


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    with fresh_database(cluster) as address, running_host(tmp_path_factory.mktemp("host"), address) as host:
        yield host


def fetch(address: str, path: str = "/") -> httpx2.Response:
    """Fetch a page through a forward socket."""
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=socket_at(address)), timeout=60, trust_env=False) as client:
        return client.get(f"http://site{path}")


def test_changes_survive_stop_and_start(host: Host) -> None:
    host.run(1, "echo mine > file; echo site > /srv/site/page; echo os > /etc/added; rm /etc/debian_version")
    first = status_of(host, 1)
    host.use(lambda client: client.sleep(TenantId(1)))
    assert not psutil.pid_exists(first.process_id)
    assert host.use(lambda client: client.statuses()) == ()
    result = host.run(1, "cat file /srv/site/page /etc/added; ls /etc/debian_version; hostname")
    assert result.output.startswith(b"mine\nsite\nos\n")
    assert b"cannot access '/etc/debian_version'" in result.output
    second = status_of(host, 1)
    assert second.generation == first.generation + 1
    assert second.accelerator in ("kvm", "tcg")


def test_what_is_promised_is_there(host: Host) -> None:
    result = host.run(
        1,
        "python3 -c 'print(1)' && bun -e 'console.log(2)' && echo '{\"a\": 3}' | jq .a && rg --version | head -1"
        " && sqlite3 :memory: 'select 5' && git --version && curl --version | head -1",
    )
    assert result.exit_status == 0, result.output
    assert result.output.startswith(b"1\n2\n3\nripgrep")


def test_a_gigabyte_of_output_is_counted_and_thrown_away(host: Host) -> None:
    process = psutil.Process(host.process.pid)
    host.run(1, "true")
    before = process.memory_info().rss
    result = host.run(1, f"echo begin; head -c {GIGABYTE} /dev/zero; echo end", timeout_s=300)
    assert result.output_bytes == GIGABYTE + len("begin\nend\n")
    assert len(result.output) == 16_384
    assert result.output.startswith(b"begin\n\0")
    assert result.output.endswith(b"\0end\n")
    assert process.memory_info().rss - before < FLAT_BYTES


def test_command_that_never_ends_is_ended_with_its_children(host: Host) -> None:
    result = host.run(1, "sleep 4321 & echo begun; while :; do :; done", timeout_s=1.0)
    assert (result.ended, result.exit_status, result.output) == (Ended.TIMED_OUT, None, b"begun\n")
    assert host.run(1, "pgrep -f 'sleep 4321$'").exit_status == 1


def test_machine_killed_in_mid_command(host: Host) -> None:
    async def scenario(client: HostClient) -> Exception:
        await client.write(TenantId(2), "kept", b"content")
        await client.run(TenantId(2), Command(text="echo synced > synced; sync", timeout_s=60))
        task = asyncio.create_task(client.run(TenantId(2), Command(text="touch begun; sleep 600", timeout_s=900)))
        await client.run(TenantId(2), Command(text="while ! [ -e begun ]; do sleep 0.05; done", timeout_s=60))
        (status,) = [status for status in await client.statuses() if status.tenant_id == 2]
        os.kill(status.process_id, signal.SIGKILL)
        with pytest.raises(Unavailable) as caught:
            await task
        return caught.value

    error = host.use(scenario)
    assert isinstance(error, SubclawError)
    assert "stopped" in error.public
    assert "unknown" in error.public
    assert host.run(2, "cat kept synced").output == b"contentsynced\n"


def test_two_tenants_have_different_disks(host: Host) -> None:
    host.run(1, "echo one > who; echo one > /etc/who")
    host.run(2, "echo two > who; echo two > /etc/who")
    assert host.run(1, "cat who /etc/who").output == b"one\none\n"
    assert host.run(2, "cat who /etc/who").output == b"two\ntwo\n"
    ids = {
        host.run(tenant, "cat /etc/machine-id /proc/sys/kernel/random/boot_id; hostname").output for tenant in (1, 2)
    }
    assert len(ids) == 2


def test_page_is_served_through_a_socket_that_wakes_the_machine(host: Host) -> None:
    async def scenario(client: HostClient) -> str:
        await client.write(TenantId(1), "www/index.html", b"<h1>hello</h1>")
        await client.write(TenantId(1), "www/large", bytes(3_000_000))
        command = "cd www; python3 -m http.server 8000 & until curl -s localhost:8000 >/dev/null; do sleep 0.1; done"
        await client.run(TenantId(1), Command(text=command, timeout_s=60))
        return await client.forward(TenantId(1), 8000)

    address = host.use(scenario)
    assert fetch(address).text == "<h1>hello</h1>"
    assert fetch(address, "/large").content == bytes(3_000_000)
    host.use(lambda client: client.sleep(TenantId(1)))
    assert 1 not in [status.tenant_id for status in host.use(lambda client: client.statuses())]
    # The connection wakes the machine, in which the program goes on.
    assert fetch(address).text == "<h1>hello</h1>"
    assert status_of(host, 1).idle_s < 60


def test_connection_nobody_reads_holds_nothing_up(host: Host) -> None:
    async def scenario(client: HostClient) -> None:
        await client.write(TenantId(1), "flood/large", bytes(5_000_000))
        command = "cd flood; python3 -m http.server 8001 & until curl -s localhost:8001 >/dev/null; do sleep 0.1; done"
        await client.run(TenantId(1), Command(text=command, timeout_s=60))
        address = await client.forward(TenantId(1), 8001)
        reader, writer = await asyncio.open_unix_connection(socket_at(address), limit=1_000)
        writer.write(b"GET /large HTTP/1.0\r\n\r\n")
        assert await reader.read(10)
        content = bytes(range(256)) * 4_000
        await client.write(TenantId(1), "other", content)
        assert (await client.read(TenantId(1), "other", offset_bytes=0, limit_bytes=2_000_000)).content == content
        left = 5_000_000
        while piece := await reader.read(100_000):
            left -= len(piece)
        assert left < 0  # the headers are on top of the content
        writer.close()
        await writer.wait_closed()

    host.use(scenario)


def test_half_closed_connection_still_gets_its_answer(host: Host) -> None:
    program = (
        "import socket\ns = socket.create_server(('127.0.0.1', 8002))\nopen('listening', 'w').close()\n"
        "c = s.accept()[0]\nd = b''\nwhile p := c.recv(9999): d += p\nc.sendall(str(len(d)).encode())\n"
    )

    async def scenario(client: HostClient) -> bytes:
        await client.write(TenantId(1), "count.py", program.encode())
        command = "python3 count.py & while ! [ -e listening ]; do sleep 0.1; done"
        await client.run(TenantId(1), Command(text=command, timeout_s=60))
        address = await client.forward(TenantId(1), 8002)
        reader, writer = await asyncio.open_unix_connection(socket_at(address))
        head = b"POST / HTTP/1.0\r\nContent-Length: 700000\r\n\r\n"
        writer.write(head + bytes(700_000 - len(head)))
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert host.use(scenario) == b"700000"


def test_many_callers_wake_one_machine(host: Host) -> None:
    async def scenario(client: HostClient) -> list[CommandResult]:
        await client.sleep(TenantId(3))
        command = Command(text="cat /proc/sys/kernel/random/boot_id", timeout_s=60)
        return list(await asyncio.gather(*(client.run(TenantId(3), command) for _ in range(4))))

    assert len({result.output for result in host.use(scenario)}) == 1
    assert status_of(host, 3).generation == 1
    assert len(host.machines()) == len(host.use(lambda client: client.statuses()))


def test_fresh_disk_is_small(host: Host) -> None:
    host.run(3, "sync")
    blocks = (host.home / "machines" / "3" / "disk.raw").stat().st_blocks
    assert blocks * 512 < 2_000_000


def disk_of(host: Host, tenant_id: int) -> Path:
    """Return the disk of a tenant's machine, which is asleep when this returns."""
    host.use(lambda client: client.sleep(TenantId(tenant_id)))
    return host.home / "machines" / str(tenant_id) / "disk.raw"


def test_disk_of_a_machine_that_sleeps_has_nothing_to_recover(host: Host) -> None:
    host.run(4, "echo new > file")
    header = subprocess.run(["/sbin/dumpe2fs", "-h", str(disk_of(host, 4))], capture_output=True, check=True).stdout
    assert b"has_journal" in header
    assert b"needs_recovery" not in header


def test_machine_has_names_and_a_clock_of_its_own(host: Host) -> None:
    names = "cat /etc/machine-id; cat /proc/sys/kernel/random/boot_id; stat -c %a /etc/machine-id; date +%s"
    first = host.run(4, names).output.decode().split()
    disk_of(host, 4)
    second = host.run(4, f"echo own > /etc/hostname; {names}").output.decode().split()
    disk_of(host, 4)
    third = host.run(4, f"cat /etc/hostname; {names}").output.decode().split()
    assert first[0] == second[0] == third[1]
    assert len({first[1], second[1], third[2]}) == 3
    assert third[0] == "machine-4"
    assert abs(int(third[4]) - time.time()) < 5


@pytest.mark.parametrize("damage", ["flag", "superblock"])
def test_damaged_disk_is_mended_by_its_machine(host: Host, damage: str) -> None:
    host.run(5, "echo content > file")
    disk = disk_of(host, 5)
    if damage == "flag":
        subprocess.run(["/sbin/debugfs", "-w", "-R", "set_super_value state 3", str(disk)], check=True)
    else:
        with disk.open("r+b") as file:
            file.write(bytes(4_096))
    assert host.run(5, "cat file").output == b"content\n"
    state = "dd if=/dev/vdb bs=1 skip=$((1024 + 0x3a)) count=1 status=none | od -An -td1"
    assert host.run(5, state).output.split() == [b"1"]


def test_disk_that_is_beyond_mending_is_said(host: Host) -> None:
    host.run(5, "true")
    disk = disk_of(host, 5)
    disk.write_bytes(b"")
    os.truncate(disk, 1024**3)
    with pytest.raises(Corrupt) as caught:
        host.run(5, "true")
    assert "rolled back" in caught.value.public
    assert not [process for process in host.processes() if "-5-" in " ".join(process.cmdline())]
    host.use(lambda client: client.destroy(TenantId(5)))


def test_disk_grows_with_its_device(host: Host) -> None:
    size = "df --output=size --block-size=1 /home/agent | tail -1"
    before = int(host.run(6, f"echo content > file; {size}").output)
    disk = disk_of(host, 6)
    os.truncate(disk, disk.stat().st_size + GROWTH_BYTES)
    assert int(host.run(6, size).output) - before > 0.9 * GROWTH_BYTES
    assert host.run(6, "cat file").output == b"content\n"
    assert disk.stat().st_blocks * 512 < 4_000_000


def test_broken_record_is_said_and_nothing_is_started(host: Host) -> None:
    folder = host.home / "machines" / "9"
    folder.mkdir()
    (folder / "machine.json").write_text('{"version": 1}', "utf-8")
    with pytest.raises(SubclawError) as caught:
        host.run(9, "true")
    assert "record" in caught.value.public
    assert 9 not in [status.tenant_id for status in host.use(lambda client: client.statuses())]


def test_idle_machines_sleep_and_make_room(tmp_path: Path, address: DatabaseAddress) -> None:
    with running_host(tmp_path, address, plan={"idle_timeout_s": 2}, awake_limit=1, queue_s=1.0) as host:

        async def scenario(client: HostClient) -> None:
            held = asyncio.create_task(client.run(TenantId(1), Command(text="touch up; sleep 600", timeout_s=900)))
            await client.run(TenantId(1), Command(text="while ! [ -e up ]; do sleep 0.1; done", timeout_s=60))
            with pytest.raises(Exhausted) as caught:
                await client.run(TenantId(2), Command(text="true", timeout_s=60))
            assert "busy" in caught.value.public
            held.cancel()
            with pytest.raises(asyncio.CancelledError):
                await held
            # The host learns that the caller has gone; then the first machine is idle, so it makes room.
            while (await client.statuses())[0].idle_s == 0.0:
                await asyncio.sleep(0.01)
            await client.run(TenantId(2), Command(text="true", timeout_s=60))
            assert [status.tenant_id for status in await client.statuses()] == [2]

        host.use(scenario)
        eventually(lambda: not host.processes(), "an idle machine does not go to sleep")
        assert host.use(lambda client: client.statuses()) == ()


def test_host_killed_leaves_no_machine_and_no_loss(tmp_path: Path, address: DatabaseAddress) -> None:
    with running_host(tmp_path, address) as host:
        host.use(lambda client: client.write(TenantId(1), "kept", b"content"))
        host.process.kill()
        host.process.wait()
        eventually(lambda: not host.processes(), "QEMU outlives its host")
    with running_host(tmp_path, address) as host:
        assert host.run(1, "cat kept").output == b"content"
        assert status_of(host, 1).generation == 2


def test_host_that_comes_back_listens_where_the_router_sends_visitors(tmp_path: Path, address: DatabaseAddress) -> None:
    with running_host(tmp_path, address) as host:
        door = host.use(lambda client: client.forward(TenantId(1), 8000))
        host.process.kill()
        host.process.wait()
    with running_host(tmp_path, address) as host:
        assert fetch(door).status_code == 503, "it was let in, and nothing listens inside"
        assert status_of(host, 1).generation == 1


def test_stop_is_clean_and_quick(tmp_path: Path, address: DatabaseAddress) -> None:
    with running_host(tmp_path, address) as host:
        host.run(1, "echo not synced by hand > file")
        began = time.monotonic()
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(30) == 0
        assert time.monotonic() - began < 15
    with running_host(tmp_path, address) as host:
        assert host.run(1, "cat file").output == b"not synced by hand\n"
