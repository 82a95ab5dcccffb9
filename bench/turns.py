"""Turns: a message in at the web chat to the reply out, with a zero-latency model, everything on this box.

The box is a real `subclaw up` in a state folder of its own: Caddy, the web process, the worker, the egress gateway, the
host and PostgreSQL. Its CPU time is all of theirs; the load generator and the fake model are not counted.
Last line: JSON with turns_per_s (20 conversations at once), cpu_ms_per_turn, p50_ms, p99_ms, prompt_bytes_hello.
"""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil

from subclaw.channels.web_client import web_person

CONVERSATIONS = 20
TURNS_EACH = 25
WARM_UP_TURNS = 3
START_S = 90


@contextlib.contextmanager
def fake_model(module: str = "subclaw.testing.openai") -> Iterator[int]:
    """Run a model provider, which prints its port; yields it."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextlib.contextmanager
def box(model_port: int) -> Iterator[tuple[psutil.Process, str]]:
    """Run a box; yields its supervisor and the address of its web chat."""
    with tempfile.TemporaryDirectory(prefix="subclaw-bench-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        environment = {
            **os.environ,
            "SUBCLAW_HOME": folder,
            "SUBCLAW_MODEL": "openai:bench",
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
        }
        command = [sys.executable, "-m", "subclaw", "up"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            try:
                yield psutil.Process(process.pid), wait_for_url(Path(folder), process)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)


def wait_for_url(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address of the web chat once it answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, httpx2.TransportError):
            url = f"http://127.0.0.1:{int((folder / 'port').read_text())}"
            if httpx2.get(f"{url}/healthz").status_code == 200:
                return url
        time.sleep(0.1)
    sys.exit("the box did not come up")


def cpu_s(supervisor: psutil.Process) -> float:
    """Return the CPU time that a box has used so far."""
    times = [process.cpu_times() for process in [supervisor, *supervisor.children(recursive=True)]]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


async def converse(url: str, turns: int) -> list[float]:
    """Take turns in one conversation; return each one's seconds."""
    async with web_person(url) as person:
        took_s = []
        replies = person.listen()
        for number in range(turns):
            began = time.perf_counter()
            await person.say("hi there" if number == 0 else f"and then? {number}")
            async for said in replies:
                if said.by == "agent":
                    break
            took_s.append(time.perf_counter() - began)
        return took_s


async def together(url: str, conversations: int, turns: int) -> list[float]:
    """Hold conversations at once; return every turn's seconds."""
    held = await asyncio.gather(*(converse(url, turns) for _ in range(conversations)))
    return [took_s for conversation in held for took_s in conversation]


def main() -> None:
    with fake_model() as model_port, box(model_port) as (supervisor, url):
        asyncio.run(converse(url, 1))
        prompt_bytes = httpx2.get(f"http://127.0.0.1:{model_port}/stats").json()["body_bytes"][-1]
        asyncio.run(together(url, CONVERSATIONS, WARM_UP_TURNS))
        alone_s = asyncio.run(converse(url, TURNS_EACH))
        cpu_before_s, began = cpu_s(supervisor), time.perf_counter()
        took_s = asyncio.run(together(url, CONVERSATIONS, TURNS_EACH))
        wall_s, used_s = time.perf_counter() - began, cpu_s(supervisor) - cpu_before_s
        pss_mb = sum(p.memory_full_info().pss for p in [supervisor, *supervisor.children(recursive=True)]) / 2**20
    quantiles = statistics.quantiles(took_s, n=100)
    result = {
        "turns_per_s": round(len(took_s) / wall_s, 1),
        "cpu_ms_per_turn": round(1000 * used_s / len(took_s), 2),
        "p50_ms": round(1000 * quantiles[49], 1),
        "p99_ms": round(1000 * quantiles[98], 1),
        "prompt_bytes_hello": prompt_bytes,
        "alone_p50_ms": round(1000 * statistics.median(alone_s), 1),
        "turns": len(took_s),
        "pss_mb_total": round(pss_mb),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
