"""Turns: a message in at the web chat to the reply out, with a zero-latency model, everything on this box.

Every turn asks the model, makes one tool call and asks the model again. A conversation's turns are 7 after a first one,
of four messages each: what the model is sent begins with 17 messages on average.

The box is a real `subclaw up` in a state folder of its own: Caddy, the web process, the worker, the egress gateway, the
host and PostgreSQL. Its CPU time is all of theirs; the load generator and the fake model are not counted.
Last line: JSON with turns_per_s (20 conversations at once), cpu_ms_per_turn and its parts by process, p50_ms, p99_ms,
prompt_bytes_hello. On a shared machine the same work may take twice the CPU time from one minute to the next; what a
fixed piece of work took meanwhile is yardstick_us, and cpu_yardsticks_per_turn is the ratio to compare.
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
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from subclaw.channels.web.client import Said, WebPerson, web_person

CONVERSATIONS = 80
AT_ONCE = 20
TURNS_EACH = 7
START_S = 90
OPEN_TO_ALL = """
[onboarding]
greet = false
prepare_machine = false
new_tenants_an_hour = 1000000
[limits]
messages_per_minute = 100000
burst = 10000
strangers_per_minute = 1000000
"""
"""Strangers are let in as they come, what they hear first is the agent, and all may say as much as they like."""

YARDSTICK_STEPS = 3_000
YARDSTICK_EVERY_S = 0.05


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


def openai_at(model_port: int) -> dict[str, str]:
    """Return the settings by which a box asks a fake of OpenAI."""
    return {
        "SUBCLAW_MODEL": "openai:bench",
        "OPENAI_API_KEY": "bench",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
    }


@contextlib.contextmanager
def box(settings: Mapping[str, str]) -> Iterator[tuple[psutil.Process, str]]:
    """Run a box; yields its supervisor and the address of its web chat."""
    with tempfile.TemporaryDirectory(prefix="subclaw-bench-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "agent.toml").write_text(OPEN_TO_ALL)
        environment = {**os.environ, **settings, "SUBCLAW_HOME": folder}
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
    return sum(cpu_s_by_process(supervisor).values())


def cpu_s_by_process(supervisor: psutil.Process) -> dict[str, float]:
    """Return the CPU time that each kind of process of a box has used so far."""
    used_s: defaultdict[str, float] = defaultdict(float)
    for process in [supervisor, *supervisor.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that ends meanwhile is counted with its parent
            times = process.cpu_times()
            used_s[kind_of(process)] += times.user + times.system + times.children_user + times.children_system
    return used_s


def kind_of(process: psutil.Process) -> str:
    """Return what a process of a box is called in results."""
    words = process.cmdline()
    return words[-1].split("_", 1)[0] if "subclaw" in words else process.name()


async def converse(url: str, turns: int) -> list[float]:
    """Take turns in a new conversation; return each one's seconds."""
    async with web_person(url) as person:
        return await go_on(person, person.listen(), turns)


async def go_on(person: WebPerson, replies: AsyncIterator[Said], turns: int) -> list[float]:
    """Take turns in a conversation; return each one's seconds."""
    took_s = []
    for number in range(turns):
        began = time.perf_counter()
        await person.say("hi there" if number == 0 else f"and then? {number}")
        async for said in replies:
            if said.by == "agent":
                break
        took_s.append(time.perf_counter() - began)
    return took_s


@dataclass(frozen=True, kw_only=True)
class Load:
    """What it took to take some turns: each one's seconds, those of all of them together, and the CPU's.

    `yardstick_s` is what a fixed piece of work took meanwhile, of the CPU's time.
    """

    took_s: Sequence[float]
    wall_s: float
    cpu_s: Mapping[str, float]
    yardstick_s: float


async def load(url: str, supervisor: psutil.Process) -> Load:
    """Open conversations with a turn each; then take the turns that count, in some of them at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def some(person: WebPerson, replies: AsyncIterator[Said], turns: int) -> list[float]:
        async with room:
            return await go_on(person, replies, turns)

    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(web_person(url)) for _ in range(CONVERSATIONS)]
        chats = [(person, person.listen()) for person in people]
        await asyncio.gather(*(some(*chat, 1) for chat in chats))
        cpu_before_s, began = cpu_s_by_process(supervisor), time.perf_counter()
        yardsticks_s: list[float] = []
        measuring = asyncio.create_task(measure_yardstick(yardsticks_s))
        held = await asyncio.gather(*(some(*chat, TURNS_EACH) for chat in chats))
        wall_s = time.perf_counter() - began
        measuring.cancel()
        return Load(
            took_s=[took_s for each in held for took_s in each],
            wall_s=wall_s,
            cpu_s={kind: after_s - cpu_before_s[kind] for kind, after_s in cpu_s_by_process(supervisor).items()},
            yardstick_s=statistics.median(yardsticks_s),
        )


async def measure_yardstick(took_s: list[float]) -> None:
    """Do a fixed piece of work now and then, and note the CPU time of each."""
    while True:
        began = time.thread_time()
        made: dict[int, str] = {}
        for step in range(YARDSTICK_STEPS):
            made[step % 100] = str(step)
        took_s.append(time.thread_time() - began)
        await asyncio.sleep(YARDSTICK_EVERY_S)


def main() -> None:
    with fake_model("bench.calling_model") as model_port, box(openai_at(model_port)) as (supervisor, url):
        asyncio.run(converse(url, 1))
        prompt_bytes = httpx2.get(f"http://127.0.0.1:{model_port}/stats").json()["body_bytes"][0]
        alone_s = asyncio.run(converse(url, 1 + TURNS_EACH))[1:]
        loaded = asyncio.run(load(url, supervisor))
        pss_mb = sum(p.memory_full_info().pss for p in [supervisor, *supervisor.children(recursive=True)]) / 2**20
    took_s, turns = loaded.took_s, len(loaded.took_s)
    quantiles = statistics.quantiles(took_s, n=100)
    result = {
        "turns_per_s": round(turns / loaded.wall_s, 1),
        "cpu_ms_per_turn": round(1000 * sum(loaded.cpu_s.values()) / turns, 2),
        "cpu_yardsticks_per_turn": round(sum(loaded.cpu_s.values()) / turns / loaded.yardstick_s, 1),
        "yardstick_us": round(1e6 * loaded.yardstick_s),
        "cpu_ms_by_process": {kind: round(1000 * used_s / turns, 2) for kind, used_s in loaded.cpu_s.items()},
        "p50_ms": round(1000 * quantiles[49], 1),
        "p99_ms": round(1000 * quantiles[98], 1),
        "prompt_bytes_hello": prompt_bytes,
        "alone_p50_ms": round(1000 * statistics.median(alone_s), 1),
        "turns": turns,
        "pss_mb_total": round(pss_mb),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
