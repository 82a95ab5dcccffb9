"""What every `Machines` must do, whoever implements it. Here: a real fleet, through its real API."""

import asyncio
import io
import tarfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.real.machines import Host, running_host

from subclaw.core.errors import Denied, Exhausted, Invalid, NotFound
from subclaw.core.house import FILE_LIMIT_BYTES, HOUSE
from subclaw.core.machine import HOME, Command, CommandEnd, Ended, Machines, Output
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

TENANT = TenantId(7)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    with fresh_database(cluster) as address, running_host(tmp_path_factory.mktemp("contract"), address) as host:
        yield host


async def shell(machines: Machines, text: str) -> bytes:
    result = await machines.run(TENANT, Command(text=text, timeout_s=60))
    assert result.ended is Ended.EXITED
    assert result.exit_status == 0, result.output
    return result.output


def test_command_runs_in_home_and_merges_its_outputs(host: Host) -> None:
    result = host.run(7, "pwd; echo $HOME; echo problem >&2; exit 3")
    assert result.output == f"{HOME}\n{HOME}\nproblem\n".encode()
    assert (result.ended, result.exit_status, result.output_bytes) == (Ended.EXITED, 3, len(result.output))


def test_command_has_the_variables_that_it_is_given_beside_its_own(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        given = {"GITHUB_TOKEN": "ghp_subclaw'\"$x\n\\", "HOME": "/nowhere", "LARGE": "x" * 16_000}
        script = 'printf %s "$GITHUB_TOKEN"; echo "|$HOME|${#LARGE}"'
        result = await machines.run(TENANT, Command(text=script, timeout_s=60, environment=given))
        assert result.output == f"{given['GITHUB_TOKEN']}|{HOME}|16000\n".encode()
        assert await shell(machines, 'echo "${GITHUB_TOKEN-none}"') == b"none\n"

    host.use(scenario)


def test_command_ended_by_signal_has_the_shells_status(host: Host) -> None:
    assert host.run(7, "kill -9 $$").exit_status == 137


def test_output_keeps_its_first_and_last_half(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        command = Command(text="seq 1 20000", timeout_s=60, output_limit_bytes=100)
        result = await machines.run(TENANT, command)
        whole = "".join(f"{number}\n" for number in range(1, 20001)).encode()
        assert result.output == whole[:50] + whole[-50:]
        assert result.output_bytes == len(whole)

    host.use(scenario)


def test_output_comes_while_the_command_runs(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        script = "rm -f go; echo begun; while ! [ -e go ]; do sleep 0.05; done; echo went; exit 3"
        async with aclosing(machines.exec(TENANT, Command(text=script, timeout_s=60))) as pieces:
            assert await anext(pieces) == Output(content=b"begun\n")
            await machines.write(TENANT, "go", b"")
            rest = [piece async for piece in pieces]
        assert rest == [
            Output(content=b"went\n"),
            CommandEnd(ended=Ended.EXITED, exit_status=3, output_bytes=len("begun\nwent\n")),
        ]

    host.use(scenario)


def test_streamed_output_says_where_something_is_left_out(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        command = Command(text="seq 1 20000", timeout_s=60, output_limit_bytes=101)
        whole = "".join(f"{number}\n" for number in range(1, 20001)).encode()
        async with aclosing(machines.exec(TENANT, command)) as pieces:
            *heads, tail, end = [piece async for piece in pieces]
        assert b"".join(head.content for head in heads if isinstance(head, Output)) == whole[:51]
        assert tail == Output(content=whole[-50:], left_out_bytes=len(whole) - 101)
        assert end == CommandEnd(ended=Ended.EXITED, exit_status=0, output_bytes=len(whole))

    host.use(scenario)


def test_slow_reader_holds_no_command_up_and_misses_nothing(host: Host) -> None:
    size = 900_000

    async def scenario(machines: HostClient) -> None:
        script = f"rm -f ended; echo begun; head -c {size} /dev/zero; head -c {size} /dev/zero; touch ended"
        command = Command(text=script, timeout_s=60, output_limit_bytes=1024**2)
        async with aclosing(machines.exec(TENANT, command)) as pieces:
            received = [await anext(pieces)]
            await shell(machines, "while ! [ -e ended ]; do sleep 0.05; done")
            received += [piece async for piece in pieces]
        *outputs, end = received
        assert isinstance(end, CommandEnd)
        assert end.output_bytes == 2 * size + len("begun\n")
        assert sum(len(piece.content) for piece in outputs if isinstance(piece, Output)) == 1024**2

    host.use(scenario)


def test_streamed_command_ends_with_its_time_or_its_reader(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        timed = Command(text="echo begun; sleep 2345 & sleep 2345", timeout_s=1.0)
        async with aclosing(machines.exec(TENANT, timed)) as pieces:
            received = [piece async for piece in pieces]
        end = CommandEnd(ended=Ended.TIMED_OUT, exit_status=None, output_bytes=6)
        assert received == [Output(content=b"begun\n"), end]
        left = Command(text="echo begun; sleep 2345 & sleep 2345", timeout_s=600)
        async with aclosing(machines.exec(TENANT, left)) as pieces:
            assert await anext(pieces) == Output(content=b"begun\n")
        await shell(machines, "while pgrep -f 'sleep 2345$'; do sleep 0.05; done")

    host.use(scenario)


def test_command_with_limit_0_keeps_nothing(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        result = await machines.run(TENANT, Command(text="echo hello", timeout_s=60, output_limit_bytes=0))
        assert (result.output, result.output_bytes) == (b"", 6)

    host.use(scenario)


@pytest.mark.parametrize(
    "command",
    [
        Command(text="", timeout_s=1),
        Command(text="echo \0", timeout_s=1),
        Command(text="echo \ud800", timeout_s=1),
        Command(text=f"true {'x' * 200_000}", timeout_s=1),
        Command(text="true", timeout_s=0),
        Command(text="true", timeout_s=float("inf")),
        Command(text="true", timeout_s=1, output_limit_bytes=-1),
        Command(text="true", timeout_s=1, output_limit_bytes=2**40),
        Command(text="true", timeout_s=1, environment={"A-B": "x"}),
    ],
    ids=["empty", "nul", "surrogate", "long", "no time", "all time", "negative limit", "huge limit", "variable"],
)
def test_command_that_cannot_be_is_invalid(host: Host, command: Command) -> None:
    async def scenario(machines: HostClient) -> None:
        with pytest.raises(Invalid):
            await machines.run(TENANT, command)

    host.use(scenario)


def test_long_command_with_every_character_arrives(host: Host) -> None:
    text = "é\t'\"$\\\n🦀" * 6_000

    async def scenario(machines: HostClient) -> None:
        quoted = text.replace("'", "'\\''")
        output = await shell(machines, f"printf %s '{quoted}' | wc -c")
        assert int(output) == len(text.encode())

    host.use(scenario)


def test_background_process_neither_holds_the_call_up_nor_dies_of_it(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        script = "(for i in 1 2 3 4 5 6 7 8; do echo noise; sleep 0.1; done; echo end > late) & echo started"
        result = await machines.run(TENANT, Command(text=script, timeout_s=60))
        assert result.output.startswith(b"started")
        assert (await shell(machines, "while ! [ -s late ]; do sleep 0.1; done; cat late")) == b"end\n"

    host.use(scenario)


def test_calls_do_not_wait_for_each_other(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = "rm -f go; touch ready; while ! [ -e go ]; do sleep 0.05; done; echo went"
            slow = group.create_task(machines.run(TENANT, Command(text=waiting, timeout_s=60)))
            await shell(machines, "while ! [ -e ready ]; do sleep 0.05; done")
            assert not slow.done()
            await machines.write(TENANT, "go", b"")
        assert slow.result().output == b"went\n"

    host.use(scenario)


def test_binary_file_comes_back_as_it_was(host: Host) -> None:
    content = bytes(range(256)) * 5_000

    async def scenario(machines: HostClient) -> None:
        await machines.write(TENANT, "new/folder/blob.bin", content)
        read = bytearray()
        while True:
            part = await machines.read(TENANT, "new/folder/blob.bin", offset_bytes=len(read), limit_bytes=500_000)
            assert (part.offset_bytes, part.size_bytes) == (len(read), len(content))
            if not part.content:
                break
            read += part.content
        assert read == content

    host.use(scenario)


def test_write_replaces_a_file_and_keeps_its_mode_and_its_links(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await shell(machines, "mkdir -p w; cd w; echo old > script; chmod 750 script; ln -s script link")
        await machines.write(TENANT, "w/link", b"")
        assert await shell(machines, "cd w; stat -c '%a %s %F' script; readlink link; ls -A | wc -l") == (
            b"750 0 regular empty file\nscript\n2\n"
        )

    host.use(scenario)


def test_read_past_the_end_is_empty(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await machines.write(TENANT, "short", b"abc")
        part = await machines.read(TENANT, "short", offset_bytes=3, limit_bytes=10)
        assert (part.content, part.size_bytes) == (b"", 3)

    host.use(scenario)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("missing", NotFound),
        ("/missing/below", NotFound),
        ("/etc/passwd/below", NotFound),
        ("/etc", Invalid),
        ("/dev/zero", Invalid),
        ("/tmp/pipe", Invalid),
        ("", Invalid),
        ("a\0b", Invalid),
        ("x" * 5_000, Invalid),
        ("x" * 300, Invalid),
    ],
    ids=["missing", "no folder", "file as folder", "folder", "device", "pipe", "empty", "nul", "long", "long name"],
)
def test_paths_that_cannot_be_read(host: Host, path: str, error: type[Exception]) -> None:
    async def scenario(machines: HostClient) -> None:
        await shell(machines, "[ -p /tmp/pipe ] || mkfifo /tmp/pipe")
        with pytest.raises(error):
            await machines.read(TENANT, path, offset_bytes=0, limit_bytes=10)

    host.use(scenario)


@pytest.mark.parametrize(
    ("path", "error"),
    [("/etc", Invalid), ("/dev/zero", Invalid), ("/etc/passwd/x", NotFound), ("/sys/x", Denied)],
    ids=["folder", "device", "file as folder", "sysfs"],
)
def test_paths_that_cannot_be_written(host: Host, path: str, error: type[Exception]) -> None:
    async def scenario(machines: HostClient) -> None:
        with pytest.raises(error):
            await machines.write(TENANT, path, b"content" * 100_000)

    host.use(scenario)


def test_search_finds_lines_and_says_if_there_are_more(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await machines.write(TENANT, "s/a.txt", b"one needle\nnothing\nanother needle: \xff\n")
        await machines.write(TENANT, "s/b.txt", b"needle " + b"x" * 100_000)
        found = await machines.search(TENANT, "need.e", "s", limit=3)
        assert [(match.path, match.line) for match in found.matches] == [
            (f"{HOME}/s/a.txt", 1),
            (f"{HOME}/s/a.txt", 3),
            (f"{HOME}/s/b.txt", 1),
        ]
        assert found.matches[0].text == "one needle"
        assert len(found.matches[2].text) <= 300
        assert not found.more
        assert (await machines.search(TENANT, "needle", "s", limit=2)).more
        assert not (await machines.search(TENANT, "no such thing", "s", limit=2)).matches

    host.use(scenario)


def test_search_refuses_what_it_cannot_search(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        with pytest.raises(Invalid) as caught:
            await machines.search(TENANT, "(", "/etc", limit=2)
        assert "unclosed group" in caught.value.public
        with pytest.raises(NotFound):
            await machines.search(TENANT, "x", "nowhere", limit=2)

    host.use(scenario)


def test_archive_holds_files_and_folders_and_no_links(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await shell(
            machines,
            "mkdir -p t/deep/empty; cd t; head -c 300000 /dev/urandom > big; echo x > deep/small;"
            " ln -s /etc/passwd link; ln big twin; mkfifo fifo; sha256sum big > ../sum",
        )
        async with aclosing(machines.archive(TENANT, "t", limit_bytes=10_000_000)) as pieces:
            content = b"".join([piece async for piece in pieces])
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            kinds = {member.name: member.isreg() for member in tar.getmembers()}
        files = {"./big": True, "./twin": True, "./deep/small": True}
        assert kinds == {**files, ".": False, "./deep": False, "./deep/empty": False}

    host.use(scenario)


def test_archive_is_bounded(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await shell(machines, "mkdir -p huge; truncate -s 50M huge/file")
        received = 0
        with pytest.raises(Exhausted):  # noqa: PT012
            async for piece in machines.archive(TENANT, "huge", limit_bytes=1_000_000):
                received += len(piece)
        assert received <= 1_000_000

    host.use(scenario)


def test_archive_that_is_left_early_holds_nothing_up(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await shell(machines, "mkdir -p huge; truncate -s 50M huge/file")
        async with aclosing(machines.archive(TENANT, "huge", limit_bytes=100_000_000)) as pieces:
            async for _ in pieces:
                break
        await shell(machines, "while pgrep -x tar; do sleep 0.05; done")

    host.use(scenario)


@pytest.mark.parametrize(
    ("path", "error"),
    [("nowhere", NotFound), ("/etc/passwd", Invalid), ("link", Invalid)],
    ids=["none", "file", "link"],
)
def test_archive_of_what_is_no_folder(host: Host, path: str, error: type[Exception]) -> None:
    async def scenario(machines: HostClient) -> None:
        await shell(machines, "ln -sfn /etc link")
        with pytest.raises(error):
            async for _ in machines.archive(TENANT, path, limit_bytes=10_000_000):
                pass

    host.use(scenario)


def test_cancelled_command_is_killed(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        command = Command(text="touch begun; exec sleep 1234", timeout_s=600)
        task = asyncio.create_task(machines.run(TENANT, command))
        await shell(machines, "while ! [ -e begun ]; do sleep 0.05; done")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await shell(machines, "while pgrep -f 'sleep 1234$'; do sleep 0.05; done")

    host.use(scenario)


def test_forward_gives_the_same_address_again(host: Host) -> None:
    async def scenario(machines: HostClient) -> tuple[str, str]:
        return await machines.forward(TENANT, 8000), await machines.forward(TENANT, 8000)

    first, second = host.use(scenario)
    assert first == second
    assert Path(first.removeprefix("unix/")).is_socket()


def test_wake_starts_a_machine_and_nothing_else(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await machines.sleep(TENANT)
        assert TENANT not in [status.tenant_id for status in await machines.statuses()]
        await machines.wake(TENANT)
        (before,) = [status for status in await machines.statuses() if status.tenant_id == TENANT]
        await machines.wake(TENANT)
        (after,) = [status for status in await machines.statuses() if status.tenant_id == TENANT]
        assert (after.generation, after.process_id) == (before.generation, before.process_id)

    host.use(scenario)


def test_house_is_written_and_synced_and_nothing_is_woken_by_it(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        await machines.sleep(TENANT)
        await machines.write_house(TENANT, "memory.md", b"asleep")
        assert not await machines.sync_house(TENANT)
        assert TENANT not in [status.tenant_id for status in await machines.statuses()]
        assert await shell(machines, f"cat {HOUSE}/memory.md") == b"asleep"
        await machines.write_house(TENANT, "memory.md", b"awake")
        assert await shell(machines, f"cat {HOUSE}/memory.md") == b"awake"
        await machines.write_house(TENANT, "memory.md", None)
        await machines.write_house(TENANT, "memory.md", None)
        assert await shell(machines, f"ls {HOUSE}") == b""
        assert await machines.sync_house(TENANT)

    host.use(scenario)


def test_file_that_no_house_can_have(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        for path, content in (("../passwd", b""), ("memory.md", bytes(FILE_LIMIT_BYTES + 1))):
            with pytest.raises(Invalid):
                await machines.write_house(TENANT, path, content)

    host.use(scenario)


def test_port_that_cannot_be(host: Host) -> None:
    async def scenario(machines: HostClient) -> None:
        for port in (0, 65_536):
            with pytest.raises(Invalid):
                await machines.forward(TENANT, port)

    host.use(scenario)


def test_destroy_erases(host: Host) -> None:
    tenant = TenantId(70)

    async def scenario(machines: HostClient) -> None:
        await machines.write(tenant, "secret", b"x")
        await machines.destroy(tenant)
        assert tenant not in [status.tenant_id for status in await machines.statuses()]
        await machines.destroy(tenant)

    host.use(scenario)
    assert not (host.home / "machines" / "70").exists()
    assert host.run(70, "ls").output == b""
