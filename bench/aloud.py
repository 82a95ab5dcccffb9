"""Replies while they are being said: how soon a customer sees a word, and what it costs that somebody listens.

A real `subclaw up` with a business's agent and a model that says 100 words, 50 a second. Customers, some at once, ask
and follow the session's stream: with deltas, and without, where the model is asked for whole answers.
Last line: JSON. first_word_ms and last_word_ms are from the message to the first and the last delta; model_first_ms is
the same from the model itself, asked directly. cpu_ms_per_reply is the box's, aloud and quietly (its parts by process
beside it); the model is not counted, and whole answers it gives at once.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
from bench.speaking_model import TEXT
from bench.turns import box, cpu_s_by_process, fake_model, openai_at
from openai import AsyncOpenAI

from subclaw.client import Client, Delta, Event

AT_ONCE = 5
TURNS_EACH = 4


@dataclass(frozen=True, kw_only=True)
class Told:
    """One reply: seconds from the message to its first and last word, and to the reply; 0 for what never came."""

    first_s: float
    last_s: float
    reply_s: float


async def aloud(client: Client, session: str) -> Told:
    """Ask, and listen."""
    began, first_s, last_s, reply_s = time.perf_counter(), 0.0, 0.0, 0.0
    async with aclosing(client.stream(session, "And now?")) as parts:
        async for part in parts:
            now_s = time.perf_counter() - began
            if isinstance(part, Delta):
                first_s, last_s = first_s or now_s, now_s
            elif isinstance(part, Event) and part.type == "reply":
                reply_s = now_s
    return Told(first_s=first_s, last_s=last_s, reply_s=reply_s)


async def quietly(client: Client, session: str) -> Told:
    """Ask, and wait for the reply."""
    began = time.perf_counter()
    await client.ask(session, "And now?")
    return Told(first_s=0.0, last_s=0.0, reply_s=time.perf_counter() - began)


async def measured(client: Client, supervisor: psutil.Process, ask: object) -> tuple[list[Told], Mapping[str, float]]:
    """Have customers ask, some at once; return what each was told, and the CPU time that it took, by process."""
    listen = aloud if ask is aloud else quietly
    sessions = [await client.open_session("support", customer=f"C-{number}") for number in range(AT_ONCE)]

    async def converse(session: str) -> list[Told]:
        return [await listen(client, session) for _ in range(TURNS_EACH)]

    before_s = cpu_s_by_process(supervisor)
    told = await asyncio.gather(*(converse(session.id) for session in sessions))
    used_s = {kind: after_s - before_s[kind] for kind, after_s in cpu_s_by_process(supervisor).items()}
    return [one for each in told for one in each], used_s


async def model_first_s(port: int) -> float:
    """Return how soon the model itself says a word."""
    took_s = []
    async with AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0) as client:
        for _ in range(5):
            began = time.perf_counter()
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    took_s.append(time.perf_counter() - began)
                    break
            await stream.close()
    return statistics.median(took_s)


def subclaw(home: str, *words: str) -> str:
    """Run a command on the box; return what it prints."""
    environment = {**os.environ, "SUBCLAW_HOME": home}
    command = [sys.executable, "-m", "subclaw", *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def agent_key(home: str, folder: Path) -> str:
    """Apply an agent without tools; return a key for it."""
    folder.mkdir()
    (folder / "agent.toml").write_text('id = "support"\ncompute = "none"\nchannels = ["api"]\n')
    (folder / "instructions.md").write_text("Be kind.\n")
    subclaw(home, "agents", "apply", str(folder))
    made = subclaw(home, "keys", "make", "bench", "--scope", "*", "--per-minute", "1000000", "--json")
    return str(json.loads(made)[0]["key"])


async def run(url: str, key: str, supervisor: psutil.Process) -> dict[str, object]:
    """Measure both ways."""
    async with Client(url, key) as client:
        await measured(client, supervisor, quietly)
        loud, loud_s = await measured(client, supervisor, aloud)
        quiet, quiet_s = await measured(client, supervisor, quietly)
    return {
        "first_word_ms": _median_ms([one.first_s for one in loud]),
        "first_word_p95_ms": round(1000 * statistics.quantiles([one.first_s for one in loud], n=20)[-1]),
        "last_word_ms": _median_ms([one.last_s for one in loud]),
        "reply_ms": _median_ms([one.reply_s for one in loud]),
        "cpu_ms_per_reply": round(1000 * sum(loud_s.values()) / len(loud), 1),
        "quiet_cpu_ms_per_reply": round(1000 * sum(quiet_s.values()) / len(quiet), 1),
        "cpu_ms_by_process": {kind: round(1000 * used_s / len(loud), 1) for kind, used_s in loud_s.items()},
        "quiet_cpu_ms_by_process": {kind: round(1000 * used_s / len(quiet), 1) for kind, used_s in quiet_s.items()},
        "untold": sum(not one.first_s for one in loud),
        "replies": len(loud),
        "words": len(TEXT.split()),
    }


def _median_ms(took_s: Sequence[float]) -> int:
    return round(1000 * statistics.median(took_s))


def main() -> None:
    with (
        fake_model("bench.speaking_model") as port,
        box(openai_at(port)) as (supervisor, url),
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
    ):
        direct_s = asyncio.run(model_first_s(port))
        home = supervisor.environ()["SUBCLAW_HOME"]
        key = agent_key(home, Path(folder) / "support")
        asked_before = httpx2.get(f"http://127.0.0.1:{port}/stats").json()["requests"]
        result = asyncio.run(run(url, key, supervisor))
        stats = httpx2.get(f"http://127.0.0.1:{port}/stats").json()
    result |= {
        "model_first_ms": round(1000 * direct_s),
        "asked": stats["requests"] - asked_before,
        "asked_for_streams": stats["streamed"] - 5,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
