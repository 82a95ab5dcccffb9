"""The supervisor keeps real processes: started in order, kept running, ended with their parent."""

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from subclaw.core.errors import Unavailable
from subclaw.supervisor import Process, ready_at_once, running

DEADLINE_S = 20


def process(code: str, *, folder: Path, ready_file: str = "", stop_timeout_s: float = 5) -> Process:
    async def ready() -> None:
        while not (folder / ready_file).exists():
            await asyncio.sleep(0.01)

    command: Sequence[str] = [sys.executable, "-c", code]
    return Process(
        name="part",
        command=command,
        environment={"FOLDER": str(folder), **os.environ},
        ready=ready if ready_file else ready_at_once,
        ready_timeout_s=DEADLINE_S,
        stop_timeout_s=stop_timeout_s,
    )


LOG_LIMIT_BYTES = 300_000

STARTS = """
import os, time
folder = os.environ["FOLDER"]
with open(folder + "/starts", "a") as file:
    file.write(f"{os.getpid()}\\n")
open(folder + "/ready", "w").close()
time.sleep(600)
"""


async def starts(folder: Path, count: int) -> list[int]:
    async with asyncio.timeout(DEADLINE_S):
        while len(pids := (folder / "starts").read_text().split()) < count:
            await asyncio.sleep(0.01)
    return [int(pid) for pid in pids]


def alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and waits for its new parent to notice does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_process_that_is_killed_is_started_anew_and_stopped_at_the_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(process(STARTS, folder=tmp_path, ready_file="ready"), tmp_path):
            (first,) = await starts(tmp_path, 1)
            os.kill(first, signal.SIGKILL)
            second = (await starts(tmp_path, 2))[1]
            assert alive(second)
        assert not alive(second)

    asyncio.run(scenario())


def autogroup_niceness(pid: int) -> int | None:
    """Return the niceness of a process's session; None where the kernel has no such thing."""
    file = Path(f"/proc/{pid}/autogroup")
    return int(file.read_text().split()[-1]) if file.exists() else None


@pytest.mark.parametrize("niceness", [15, -10])
def test_one_that_gives_way_does_so_to_other_sessions_too(tmp_path: Path, niceness: int) -> None:
    async def scenario() -> None:
        part = dataclasses.replace(process(STARTS, folder=tmp_path, ready_file="ready"), niceness=niceness)
        async with running(part, tmp_path):
            (pid,) = await starts(tmp_path, 1)
            assert os.getpriority(os.PRIO_PROCESS, pid) == niceness
            assert autogroup_niceness(pid) in (niceness, None)

    asyncio.run(scenario())


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        code = "import sys; sys.exit('the port is taken')"
        async with running(process(code, folder=tmp_path, ready_file="never"), tmp_path):
            pass

    with pytest.raises(Unavailable, match="part stopped at its start: the port is taken"):
        asyncio.run(scenario())


def test_one_that_does_not_end_is_made_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STARTS
        async with running(process(code, folder=tmp_path, ready_file="ready", stop_timeout_s=0.2), tmp_path):
            (pid,) = await starts(tmp_path, 1)
        assert not alive(pid)

    asyncio.run(scenario())


def test_what_it_says_is_kept_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.supervisor.LOG_LIMIT_BYTES", LOG_LIMIT_BYTES)

    async def scenario() -> None:
        code = "print('x' * 200_000); print('100 % done')\nfor i in range(100_000): print(i)\n" + STARTS
        async with running(process(code, folder=tmp_path, ready_file="ready"), tmp_path):
            pass

    asyncio.run(scenario())
    kept = [path.read_text() for path in sorted(tmp_path.glob("part.log*"))]
    assert kept[0].endswith("99999\n")
    assert all(len(text) <= LOG_LIMIT_BYTES for text in kept)


def test_children_die_with_the_supervisor(tmp_path: Path) -> None:
    code = f"""
import asyncio, os, sys
from pathlib import Path
sys.path[:0] = {sys.path!r}
from subclaw.supervisor import Process, ready_at_once, running
async def main():
    part = Process(name="part", command=[sys.executable, "-c", {STARTS!r}],
                   environment={{"FOLDER": {str(tmp_path)!r}}}, ready=ready_at_once)
    async with running(part, Path({str(tmp_path)!r})):
        await asyncio.sleep(600)
asyncio.run(main())
"""

    async def scenario() -> None:
        supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        (tmp_path / "starts").touch()
        (child,) = await starts(tmp_path, 1)
        supervisor.kill()
        await supervisor.wait()
        async with asyncio.timeout(DEADLINE_S):
            while alive(child):
                await asyncio.sleep(0.01)

    asyncio.run(scenario())
