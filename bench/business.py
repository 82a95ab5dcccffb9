"""Business: 2,000 customers in conversation at once with one agent of a business, everything on this box.

The agent has compute "none" and three tools: a Python function, an operation of an OpenAPI document, which goes out by
the gateway to a server on loopback, and a tool of an MCP server that is a process. The box is a real `subclaw up`. A
business's server opens a session for each customer, says what they say by `POST /v1/sessions/{id}/events`, and follows
the same address as a stream.

A turn asks the model four times, since a model that calls three tools mostly waits for what one said before it calls
the next; the provider, on loopback, answers each time after 5 s. So a turn takes 20 s and what is added by us. Then the
customer reads, looks something up and types, 40 to 80 s, and goes on. So 2,000 in conversation are 500 turns under way;
25 begin each second, with 100 model calls and 75 tool calls. The customers come evenly over the first 80 s; what counts
are the 60 s after that.

Last line: JSON. `p99_overhead_ms` is of a turn's time beyond 20 s, from when a message is sent to when its reply is
read; in it is how much too late the provider answered (`late_p99_ms` of a call), since it and the customers share the
processors with the box. `crossed` counts canaries of other customers in prompts, tool results, replies and the
transcripts in the database, which hold `canaries` in all. `wrong` counts results and replies without the customer's
own, `failed` turns without a reply, `machines_started` the host's machines. `rss_mb` is what all processes of the box
hold, with shared pages counted once. What a fixed piece of work took meanwhile is yardstick_us (see `bench/turns.py`).
`--customers`, `--think` (its mean) and `--steady` (seconds) can be given. The status is 1 if a count is not 0 that is
to be.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import psutil
import psycopg
from bench.business_agent import AGENT, HOST, bound_canary, message_of, said_canary, strangers_in, write_folder
from bench.business_world import LATENCY_S, MODEL_CALLS
from bench.turns import box, cpu_s_by_process, fake_model, kind_of, measure_yardstick, openai_at

from subclaw.home import Home
from subclaw.store.cluster import private_address
from subclaw.store.database import Role

OPENING_AT_ONCE = 16
REPLY_LIMIT_S = 120.0
MODEL_S = LATENCY_S * MODEL_CALLS

_FOUND = """
    SELECT count(*) FROM event e JOIN session s ON s.conversation_id = e.conversation_id,
        regexp_matches(e.body::text, 'canary-[0-9a-f]{16}', 'g') found
"""
"""How many canaries are in the transcripts."""

_CROSSED = f"{_FOUND} WHERE found[1] NOT IN (s.binding ->> 'canary', s.binding ->> 'said')"
_MACHINES = "SELECT count(*) FROM machine"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How much is to be done: customers, their mean pause between turns, and for how long it counts."""

    customers: int
    think_s: float
    steady_s: float

    @property
    def coming_s(self) -> float:
        """Over how long customers come: as long as one of them takes from message to message."""
        return MODEL_S + self.think_s


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A turn: when it began and ended."""

    began_s: float
    ended_s: float


@dataclass(kw_only=True)
class Talk:
    """What customers say by the API, and what came of it. Whoever thinks when it is `over` says nothing more."""

    http: aiohttp.ClientSession
    turns: list[Turn] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0

    async def open_session(self, customer: int) -> str:
        """Open a customer's session; return its id."""
        binding = {"canary": bound_canary(customer), "said": said_canary(customer)}
        body = {"customer": f"C-{customer}", "binding": binding}
        async with self.http.post(f"/v1/agents/{AGENT}/sessions", json=body) as response:
            response.raise_for_status()
            return str((await response.json())["id"])

    async def converse(self, customer: int, session: str, comes_in_s: float, think_s: float) -> None:
        """Take turns until it is over."""
        await self._pause(comes_in_s)
        replies: asyncio.Queue[str] = asyncio.Queue()
        following = asyncio.create_task(self._follow(session, replies))
        turn = 0
        while not self.over.is_set():
            turn += 1
            await self._take_turn(customer, turn, session, replies)
            await self._pause(random.uniform(think_s * 2 / 3, think_s * 4 / 3))
        following.cancel()

    async def _take_turn(self, customer: int, turn: int, session: str, replies: asyncio.Queue[str]) -> None:
        began_s = time.monotonic()
        self.under_way += 1
        try:
            async with asyncio.timeout(REPLY_LIMIT_S):
                await self._say(session, message_of(customer, turn))
                reply = await replies.get()
        except (TimeoutError, aiohttp.ClientError):
            self.counts["failed"] += 1
            return
        finally:
            self.under_way -= 1
        self.turns.append(Turn(began_s=began_s, ended_s=time.monotonic()))
        self.counts["crossed"] += strangers_in(reply, customer)
        self.counts["wrong"] += bound_canary(customer) not in reply or f"order-{customer}-{turn} " not in reply

    async def _say(self, session: str, text: str) -> None:
        async with self.http.post(f"/v1/sessions/{session}/events", json={"text": text}) as response:
            response.raise_for_status()
            await response.read()

    async def _follow(self, session: str, replies: asyncio.Queue[str]) -> None:
        """Follow a session's events, and pass its replies on."""
        accept = {"Accept": "text/event-stream"}
        async with self.http.get(f"/v1/sessions/{session}/events?deltas=false", headers=accept) as response:
            response.raise_for_status()
            kind = ""
            async for line in response.content:
                if line.startswith(b"event: "):
                    kind = line[7:].strip().decode()
                elif line.startswith(b"data: ") and kind == "reply":
                    replies.put_nowait(str(json.loads(line[6:])["text"]))

    async def _pause(self, pause_s: float) -> None:
        with_limit = asyncio.wait_for(self.over.wait(), pause_s)
        try:
            await with_limit
        except TimeoutError:
            return


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured while it counted: turns that began then, how many ended then, and what the box used."""

    overheads_s: list[float]
    ended: int
    turns_at_once: float
    cpu_s: Mapping[str, float]
    yardstick_s: float
    rss_mb: Mapping[str, float]
    late_p99_ms: float
    counts: Counter[str]


async def measure(url: str, key: str, world_url: str, supervisor: psutil.Process, wanted: Wanted) -> Measured:
    """Have customers come and talk, and measure."""
    headers, unlimited = {"Authorization": f"Bearer {key}"}, aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, timeout=unlimited, connector=connector) as http:
        talk = Talk(http=http)
        sessions = await open_sessions(talk, wanted.customers)
        async with asyncio.TaskGroup() as group:
            for customer, session in enumerate(sessions):
                comes_in_s = wanted.coming_s * customer / wanted.customers
                group.create_task(talk.converse(customer, session, comes_in_s, wanted.think_s))
            await asyncio.sleep(wanted.coming_s)
            return await measure_steady(talk, world_url, supervisor, wanted.steady_s)


async def open_sessions(talk: Talk, customers: int) -> list[str]:
    """Open all sessions, some at once."""
    room = asyncio.Semaphore(OPENING_AT_ONCE)

    async def open_one(customer: int) -> str:
        async with room:
            return await talk.open_session(customer)

    return await asyncio.gather(*map(open_one, range(customers)))


async def measure_steady(talk: Talk, world_url: str, supervisor: psutil.Process, steady_s: float) -> Measured:
    """Measure for a while, say that it is over, and wait until the turns under way have ended."""
    await stats_of(world_url)
    began_s, cpu_before_s = time.monotonic(), cpu_s_by_process(supervisor)
    yardsticks_s, at_once = list[float](), list[int]()
    measuring = asyncio.create_task(measure_yardstick(yardsticks_s))
    while (now_s := time.monotonic()) < began_s + steady_s:
        at_once.append(talk.under_way)
        await asyncio.sleep(min(1.0, began_s + steady_s - now_s))
    ended_s = time.monotonic()
    measuring.cancel()
    cpu_s = {kind: used_s - cpu_before_s.get(kind, 0.0) for kind, used_s in cpu_s_by_process(supervisor).items()}
    rss_mb, late_p99_ms = rss_mb_by_process(supervisor), (await stats_of(world_url))["late_p99_ms"]
    talk.over.set()
    while talk.under_way:  # noqa: ASYNC110 - it is looked at once a second at most, and there is no hurry
        await asyncio.sleep(0.5)
    counted = [turn for turn in talk.turns if began_s <= turn.began_s < ended_s]
    return Measured(
        overheads_s=[turn.ended_s - turn.began_s - MODEL_S for turn in counted],
        ended=sum(began_s <= turn.ended_s < ended_s for turn in talk.turns),
        turns_at_once=statistics.mean(at_once),
        cpu_s=cpu_s,
        yardstick_s=statistics.median(yardsticks_s),
        rss_mb=rss_mb,
        late_p99_ms=late_p99_ms,
        counts=talk.counts,
    )


async def stats_of(world_url: str) -> dict[str, Any]:
    """Ask the provider what it has counted."""
    async with aiohttp.ClientSession() as http, http.get(f"{world_url}/stats") as response:
        return dict(await response.json())


def rss_mb_by_process(supervisor: psutil.Process) -> dict[str, float]:
    """Return what each kind of process of a box holds, with shared pages counted once."""
    held_mb: defaultdict[str, float] = defaultdict(float)
    for process in [supervisor, *supervisor.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            held_mb[kind_of(process)] += process.memory_full_info().pss / 2**20
    return held_mb


def subclaw(home: str, *arguments: str) -> str:
    """Run a command of the box's operator; return what it printed."""
    command = [sys.executable, "-m", "subclaw", *arguments]
    environment = {**os.environ, "SUBCLAW_HOME": home}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def count(home: str, query: str) -> int:
    """Ask the box's database for a number."""
    address = private_address(Home(Path(home)).database_socket_folder)
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        ((number,),) = connection.execute(query.encode()).fetchall()
        return int(number)


def apply_agent(home: str, world_port: int) -> str:
    """Apply the agent and let its customers reach the shop; return a key of the API."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder) / AGENT, world_port)
        subclaw(home, "agents", "apply", str(Path(folder) / AGENT))
    subclaw(home, "policy", "allow", HOST, "--port", str(world_port), "--address", "127.0.0.1")
    made = subclaw(home, "keys", "make", "bench", "--scope", "*", "--per-minute", "1000000", "--json")
    (key,) = json.loads(made)
    return str(key["key"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--think", type=float, default=60.0)
    parser.add_argument("--steady", type=float, default=60.0)
    given = parser.parse_args()
    wanted = Wanted(customers=given.customers, think_s=given.think, steady_s=given.steady)
    with fake_model("bench.business_world") as port, box(openai_at(port)) as (supervisor, url):
        home, world_url = supervisor.environ()["SUBCLAW_HOME"], f"http://127.0.0.1:{port}"
        measured = asyncio.run(measure(url, apply_agent(home, port), world_url, supervisor, wanted))
        world = httpx2.get(f"{world_url}/stats").json()
        crossed = measured.counts["crossed"] + world.get("crossed", 0) + count(home, _CROSSED)
        canaries = count(home, _FOUND)
        wrong, machines = measured.counts["wrong"] + world.get("wrong", 0), count(home, _MACHINES)
    quantiles, cpu_s = statistics.quantiles(measured.overheads_s, n=100), sum(measured.cpu_s.values())
    turns = measured.ended
    result = {
        "turns_per_s": round(turns / wanted.steady_s, 1),
        "rss_mb": round(sum(measured.rss_mb.values())),
        "p99_overhead_ms": round(1000 * quantiles[98]),
        "machines_started": machines,
        "crossed": crossed,
        "canaries": canaries,
        "wrong": wrong,
        "failed": measured.counts["failed"],
        "customers": wanted.customers,
        "think_s": wanted.think_s,
        "turns_at_once": round(measured.turns_at_once),
        "turns": len(measured.overheads_s),
        "p50_overhead_ms": round(1000 * quantiles[49]),
        "late_p99_ms": round(measured.late_p99_ms, 1),
        "cpu_ms_per_turn": round(1000 * cpu_s / turns, 1),
        "cpu_ms_by_process": {
            kind: round(1000 * used_s / measured.ended, 2) for kind, used_s in measured.cpu_s.items()
        },
        "rss_mb_by_process": {kind: round(held_mb) for kind, held_mb in measured.rss_mb.items()},
        "yardstick_us": round(1e6 * measured.yardstick_s),
    }
    print(json.dumps(result))
    sys.exit(any(result[kind] for kind in ("machines_started", "crossed", "wrong", "failed")))


if __name__ == "__main__":
    main()
