"""Services of a machine, run by the guest agent's own code on this host."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from subclaw_guest import services as module
from subclaw_guest.connect import is_listening, until_listening
from subclaw_guest.declared import BROKEN, FILE, SERVICES_LIMIT, Declared, Service, parse_services
from subclaw_guest.processes import Processes
from subclaw_guest.service_log import LOG_LIMIT_BYTES, add_to_log
from subclaw_guest.services import Services

WAIT_S = 10.0


class NoGroups:
    """Control groups that are not there."""

    def take(self, process_id: int) -> None:
        """Leave the process where it is."""


@asynccontextmanager
async def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Services]:
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("subclaw_guest.processes.set_out_of_memory_score", lambda score: None)
    processes = Processes(NoGroups())  # type: ignore[arg-type]
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, processes.reap)
    services = Services(processes, str(folder), str(folder / "logs"))
    services.start()
    try:
        yield services
    finally:
        declare(folder)
        await until(lambda: not services.sessions)
        assert services._keeping is not None
        services._keeping.cancel()
        await asyncio.wait([services._keeping])
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)


def declare(folder: Path, *services: dict[str, object]) -> None:
    text = json.dumps([{"folder": str(folder), **service} for service in services])
    (folder / "new").write_text(text)
    (folder / "new").replace(folder / FILE)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def scene(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: Callable[[Services], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with running(folder, monkeypatch) as services:
            await steps(services)

    asyncio.run(scenario())


def test_a_service_runs_when_it_is_declared_and_ends_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(services: Services) -> None:
        command = "echo on $PORT in $(pwd); trap 'echo ended >> ended; exit' TERM; while :; do sleep 0.05; done"
        declare(tmp_path, {"name": "web", "command": command, "port": 8000})
        log = tmp_path / "logs" / "web.log"
        await until(lambda: log.exists() and f"on 8000 in {tmp_path}" in log.read_text())
        assert len(services.sessions) == 1
        declare(tmp_path, {"name": "web", "command": command, "port": 8000}, {"name": "b", "command": "sleep 60"})
        await until(lambda: len(services.sessions) == 2)
        declare(tmp_path, {"name": "b", "command": "sleep 60"})
        await until(lambda: len(services.sessions) == 1)
        assert (tmp_path / "ended").read_text() == "ended\n", "it was not given the time to end by itself"

    scene(tmp_path, monkeypatch, steps)


def test_one_that_keeps_ending_is_started_again_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(services: Services) -> None:
        declare(tmp_path, {"name": "web", "command": "echo start >> starts; exit 3"})
        broken = tmp_path / BROKEN
        await until(broken.exists)
        assert "web: ended 3 times in a row; at last it ended with exit status 3." in broken.read_text()
        assert (tmp_path / "starts").read_text().count("start") >= 3
        assert "[it ended with exit status 3; it is started again in" in (tmp_path / "logs/web.log").read_text()
        monkeypatch.setattr(module, "STEADY_S", 0.1)
        declare(tmp_path, {"name": "web", "command": "sleep 60"})
        await until(lambda: not broken.exists())

    scene(tmp_path, monkeypatch, steps)


def test_one_that_cannot_be_started_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(services: Services) -> None:
        declare(tmp_path, {"name": "web", "command": "true", "folder": "/nowhere"})
        await until((tmp_path / BROKEN).exists)
        assert "could not be started: No such file or directory" in (tmp_path / BROKEN).read_text()

    scene(tmp_path, monkeypatch, steps)


def test_what_runs_goes_on_while_the_file_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(services: Services) -> None:
        declare(tmp_path, {"name": "web", "command": "sleep 60"})
        await until(lambda: services.sessions)
        before = set(services.sessions)
        (tmp_path / FILE).write_text("[{")
        seen = asyncio.Event()

        def parsed(content: bytes) -> Declared:
            seen.set()
            return parse_services(content)

        monkeypatch.setattr(module, "parse_services", parsed)
        (tmp_path / FILE).write_text("[{ ")
        async with asyncio.timeout(WAIT_S):
            await seen.wait()
        assert services.sessions == before

    scene(tmp_path, monkeypatch, steps)


def test_log_keeps_the_newest(tmp_path: Path) -> None:
    path = str(tmp_path / "logs" / "web.log")
    for letter in b"abc":
        add_to_log(path, bytes([letter]) * LOG_LIMIT_BYTES)
    assert Path(path).read_bytes() == b"c" * LOG_LIMIT_BYTES
    assert Path(f"{path}.1").read_bytes() == b"b" * LOG_LIMIT_BYTES
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_log_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "web.log").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic"):
        add_to_log(str(tmp_path / "web.log"), b"x")
    assert not (tmp_path / "other").exists()


def test_declared() -> None:
    read = parse_services(
        b'[{"name": "web", "command": "python3 a.py", "port": 8000, "folder": "/srv"}, {"name": "b"}]'
    )
    assert read.services == (Service(name="web", command="python3 a.py", port=8000, folder="/srv"),)
    assert read.problems == ("services.json: service 2 is left out: its command must be a shell command.",)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("3", "it is no object"),
        ('{"name": "W", "command": "x"}', "its name must have"),
        ('{"name": "w", "command": "x", "port": true}', "its port must be"),
        ('{"name": "w", "command": "x", "port": 70000}', "its port must be"),
        ('{"name": "w", "command": "x", "folder": "here"}', "its folder must be"),
        ('{"name": "a", "command": "x"}', "there is a a before it"),
    ],
)
def test_declared_wrongly(fields: str, problem: str) -> None:
    read = parse_services(f'[{{"name": "a", "command": "x"}}, {fields}]'.encode())
    assert read.services == (Service(name="a", command="x"),)
    assert problem in read.problems[0]


@pytest.mark.parametrize("content", [b"{}", b"[", b"\xff", b"[" * 100_000])
def test_file_that_cannot_be_used(content: bytes) -> None:
    assert parse_services(content).services is None


def test_no_more_than_the_limit() -> None:
    many = [{"name": f"s{number}", "command": "x"} for number in range(SERVICES_LIMIT + 1)]
    read = parse_services(json.dumps(many).encode())
    assert read.services is not None
    assert len(read.services) == SERVICES_LIMIT
    assert "left out" in read.problems[0]


@pytest.mark.parametrize(
    ("family", "address", "is_reached"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET, "127.0.0.2", False),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
        (socket.AF_INET6, "::1", False),
    ],
)
def test_who_listens_is_known_without_connecting(family: int, address: str, is_reached: bool) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((address, 0))
        port = server.getsockname()[1]
        assert not is_listening(port)
        server.listen()
        assert is_listening(port) is is_reached
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_nobody_listens_in_time() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(until_listening(bound.getsockname()[1], 0.05))
