"""A storm: processes are killed at random under load, the database too; every message is answered once all the same.

Two web and two worker processes share a PostgreSQL whose commits are durable. People write by the web chat and by text
message, each with an id of their own that stays the same until it is acknowledged, as browsers and Twilio do. What dies
by SIGKILL is one of those processes, a process of PostgreSQL's, or its postmaster; it is started anew after the
supervisor's first delay. The processes run the product's own doors, turns, outbox and reminders, but are forked from
one that has imported them: under the supervisor itself, whose delays grow while a process keeps ending, five
hundred kills would take hours. The model does what it is told; the provider of text messages is on loopback.

`--kills`, `--people`, `--pause` (mean seconds before a kill) and `--seed` can be given. Last line: JSON. `lost`,
`duplicate` and `stuck` count what `tests.faults.findings` finds at the end. The recovery from a kill is the time until
all that was accepted before and not answered yet is answered. `given_up` are turns whose reply is that they
were begun in vain too often. The status is 1 if there is a finding.
"""

import argparse
import asyncio
import functools
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from uuid import uuid4

import aiohttp
import httpx2
import psutil
from tests.faults.findings import find, look, until_at_rest
from tests.faults.forked import started
from tests.faults.obedient import Trace, answered_by
from tests.faults.replica import ACCOUNT, NUMBER, TOKEN, Replica, serve
from tests.faults.web_replica import PUBLIC_URL, WebReplica, serve_web

from subclaw.channels.sms.paths import WEBHOOK_PATH
from subclaw.channels.web.person import cookie_name, new_token, web_address
from subclaw.store.cluster import cluster_command, make_cluster, private_address
from subclaw.store.database import DatabaseAddress
from subclaw.store.provision import provision
from subclaw.supervisor import RESTART_DELAY_S
from subclaw.testing.channels.twilio import FakeTwilio, deliver, fake_twilio, inbound_sms
from subclaw.testing.postgres import AS_CLUSTER_USER, ROLES

WEBS = ("web 1", "web 2")
WORKERS = ("worker 1", "worker 2")
DATABASE, POSTMASTER = "database", "postmaster"
WEIGHTS = {**dict.fromkeys(WEBS, 15), **dict.fromkeys(WORKERS, 22), DATABASE: 16, POSTMASTER: 10}
MESSAGES_EACH = 30
"""How many messages somebody writes before somebody new takes the place, so that histories stay short."""

WANTS = ("", "", "", "once", "again", "once+again", "again once", "long", "remind_message", "remind_agent_turn")
WRITING_S = 1.2
"""Mean pause of one person between messages."""

THINK_S = 0.15
RETRY_S = 0.3
POLL_S = 0.05
AT_ONCE_SHARE = 0.25
"""The share of the kills that come while nothing may have recovered from the one before."""

RECOVERED_LIMIT_S = 20.0
REQUEST_LIMIT_S = 5.0
START_LIMIT_S = 30.0
REST_LIMIT_S = 120.0
REPORT_S = 10.0


@dataclass(kw_only=True)
class Storm:
    """A storm that rages: what runs, what was said, and what was killed and when."""

    address: DatabaseAddress
    folder: Path
    trace: Trace
    ports: Sequence[int]
    twilio: FakeTwilio
    chance: random.Random
    processes: dict[str, psutil.Process] = field(default_factory=dict)
    said: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    accepted_s: dict[str, float] = field(default_factory=dict)
    kills: list[tuple[float, str]] = field(default_factory=list)
    calm: asyncio.Event = field(default_factory=asyncio.Event)


def main() -> None:
    """Rage, print, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="subclaw-storm-", dir="/var/tmp") as name:
        result = asyncio.run(run(Path(name), given.kills, given.people, given.pause, random.Random(given.seed)))
    print(json.dumps({"seed": given.seed, **result}))
    sys.exit(any(result[kind] for kind in ("lost", "duplicate", "stuck")))


async def run(folder: Path, kills: int, people: int, pause_s: float, chance: random.Random) -> dict[str, object]:
    """Run a storm and what comes after it; return what was done and found."""
    address = make_database(folder)
    async with fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN) as twilio:
        storm = Storm(
            address=address,
            folder=folder,
            trace=Trace(path=folder / "trace"),
            ports=free_ports(len(WEBS)),
            twilio=twilio,
            chance=chance,
        )
        async with everything_runs(storm):
            began_s = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number in range(people):
                    group.create_task(write(storm, number, random.Random(chance.random())))
                watching = group.create_task(watch(storm))
                await rage(storm, kills, pause_s)
                storm.calm.set()
                watching.cancel()
            took_s = time.monotonic() - began_s
            with suppress(TimeoutError):
                async with asyncio.timeout(REST_LIMIT_S):
                    await until_at_rest(address)
            return await result_of(storm, took_s)


def make_database(folder: Path) -> DatabaseAddress:
    """Make a cluster whose commits are durable, as in production."""
    folder.chmod(0o755)
    place = folder / "database"
    place.mkdir()
    subprocess.run(["chown", "subclaw-db:", str(place)], check=True)
    make_cluster(place / "data", as_user=AS_CLUSTER_USER, roles={"root": ROLES}, owner_user="root")
    return private_address(place)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listener.getsockname()[1]) for listener in listeners]


@asynccontextmanager
async def everything_runs(storm: Storm) -> AsyncIterator[None]:
    """Keep the database and the four processes running for the life of the block."""
    async with asyncio.TaskGroup() as group:
        keeping = [group.create_task(keep_database(storm))]
        await provision(storm.address, timeout_s=START_LIMIT_S)
        for name, port in zip(WEBS, storm.ports, strict=True):
            web = WebReplica(address=storm.address, port=port)
            start = functools.partial(started, serve_web, web, str(storm.folder / "web.log"))
            keeping.append(group.create_task(keep(storm, name, start)))
        for name in WORKERS:
            start = functools.partial(started, serve, worker_replica(storm), str(storm.folder / "worker.log"))
            keeping.append(group.create_task(keep(storm, name, start)))
        async with asyncio.timeout(START_LIMIT_S):
            while storm.processes.keys() != {*WEBS, *WORKERS, POSTMASTER}:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
        yield
        for one in reversed(keeping):
            one.cancel()
            await asyncio.wait([one])


def worker_replica(storm: Storm) -> Replica:
    """Return what a worker process is told."""
    return Replica(
        database_url=storm.address.url,
        private=True,
        trace=str(storm.trace.path),
        twilio_url=storm.twilio.base_url,
        think_s=THINK_S,
    )


async def keep(storm: Storm, name: str, start: Callable[[], ForkServerProcess]) -> None:
    """Keep a process running, until cancelled."""
    while True:
        process = await asyncio.to_thread(start)
        assert process.pid is not None
        with suppress(psutil.NoSuchProcess):
            storm.processes[name] = psutil.Process(process.pid)
        try:
            await ended(process)
        finally:
            process.kill()
            process.join()
        await asyncio.sleep(RESTART_DELAY_S)


async def ended(process: ForkServerProcess) -> None:
    """Wait until a process has ended."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(process.sentinel)


async def keep_database(storm: Storm) -> None:
    """Keep PostgreSQL running, until cancelled."""
    folder = storm.folder / "database"
    command = [*AS_CLUSTER_USER, "--pdeathsig=INT", *cluster_command(folder / "data", folder)]
    with (storm.folder / "database.log").open("ab") as log:
        while True:
            process = await asyncio.create_subprocess_exec(*command, stderr=log)
            storm.processes[POSTMASTER] = psutil.Process(process.pid)
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.send_signal(signal.SIGINT)
                    await process.wait()
            await asyncio.sleep(RESTART_DELAY_S)


async def rage(storm: Storm, kills: int, pause_s: float) -> None:
    """Kill so many times, at random; mostly once something is done again after the last time."""
    while len(storm.kills) < kills:
        if storm.chance.random() > AT_ONCE_SHARE:
            await until_something_is_done(storm)
        await asyncio.sleep(storm.chance.expovariate(1 / pause_s))
        (name,) = storm.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        with suppress(psutil.NoSuchProcess):
            victim = storm.processes[POSTMASTER if name == DATABASE else name]
            if name == DATABASE:
                victim = storm.chance.choice(victim.children() or [victim])
            if victim.is_running() and victim.status() != psutil.STATUS_ZOMBIE:
                victim.kill()
                storm.kills.append((time.time(), name))


async def until_something_is_done(storm: Storm) -> None:
    """Wait until the model is asked or a tool called, but not for ever."""
    before = storm.trace.size_bytes()
    with suppress(TimeoutError):
        async with asyncio.timeout(RECOVERED_LIMIT_S):
            while storm.trace.size_bytes() == before:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)


async def write(storm: Storm, number: int, chance: random.Random) -> None:
    """Be one person after another, and write until it is calm: every third one by text message."""
    for turn in range(sys.maxsize):
        name = f"p{number}x{turn}"
        async with text_person(storm, number, turn) if number % 3 == 0 else web_person(storm) as (address, send):
            for count in range(MESSAGES_EACH):
                await asyncio.sleep(chance.expovariate(1 / WRITING_S))
                if storm.calm.is_set():
                    return
                request = f"{name}m{count}"
                id = await send(f"please {request} {chance.choice(WANTS)}".strip(), chance)
                storm.accepted_s[request] = time.time()
                storm.said[address].append(id)


Send = Callable[[str, random.Random], Awaitable[str]]
"""Sends a text until it is acknowledged, and returns the id that it is stored under."""


@asynccontextmanager
async def web_person(storm: Storm) -> AsyncIterator[tuple[str, Send]]:
    """Be somebody at the web chat; yields the address, and how to write."""
    token = new_token()
    address = web_address(token).address
    cookies = {cookie_name(PUBLIC_URL): token}
    async with httpx2.AsyncClient(cookies=cookies, timeout=REQUEST_LIMIT_S, trust_env=False) as client:

        async def send(text: str, chance: random.Random) -> str:
            body = {"id": str(uuid4()), "text": text}
            while True:
                with suppress(httpx2.TransportError):
                    url = f"http://127.0.0.1:{chance.choice(storm.ports)}/chat/messages"
                    response = await client.post(url, json=body)
                    if response.status_code == 202:
                        return f"{address}:{body['id']}"
                    assert response.status_code >= 500, response.text
                await asyncio.sleep(RETRY_S)

        yield address, send


@asynccontextmanager
async def text_person(storm: Storm, number: int, turn: int) -> AsyncIterator[tuple[str, Send]]:
    """Be somebody with a telephone; yields the number, and how to write."""
    address = f"+1555{number:03}{turn:04}"

    async def send(text: str, chance: random.Random) -> str:
        params = inbound_sms(account_sid=ACCOUNT, sender=address, to=NUMBER, text=text)
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                url = f"http://127.0.0.1:{chance.choice(storm.ports)}{WEBHOOK_PATH}"
                signed_url = PUBLIC_URL + WEBHOOK_PATH
                ((status, said),) = await deliver(to_url=url, signed_url=signed_url, auth_token=TOKEN, params=params)
                if status == 200:
                    return params["MessageSid"]
                assert status >= 500, said
            await asyncio.sleep(RETRY_S)

    yield address, send


async def watch(storm: Storm) -> None:
    """Say now and then how it goes."""
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(REPORT_S)
        killed = dict(sorted(Counter(name for _, name in storm.kills).items()))
        print(f"{time.monotonic() - began_s:4.0f} s, {len(storm.accepted_s)} messages, killed {killed}", flush=True)


async def result_of(storm: Storm, took_s: float) -> dict[str, object]:
    """Return what was done and found."""
    found = await find(storm.address, storm.said, storm.trace, storm.twilio.messages)
    for finding in found.all():
        print(f"FINDING {finding}", flush=True)
    recoveries_s = recovery_s(storm, await answered_s(storm.address))
    states = await look(storm.address, "SELECT state, count(*) FROM outbox GROUP BY 1 ORDER BY 1")
    ((turns,),) = await look(storm.address, "SELECT count(*) FROM event WHERE type = 'turn.finished'")
    return {
        "kills": len(storm.kills),
        "killed": dict(sorted(Counter(name for _, name in storm.kills).items())),
        "messages": len(storm.accepted_s),
        "turns": turns,
        "lost": len(found.lost),
        "duplicate": len(found.duplicate),
        "stuck": len(found.stuck),
        "given_up": found.given_up,
        "outbox": dict(states),
        "recovery_p50_s": round(statistics.median(recoveries_s), 2),
        "recovery_p99_s": round(statistics.quantiles(recoveries_s, n=100, method="inclusive")[98], 2),
        "recovery_max_s": round(max(recoveries_s), 2),
        "took_s": round(took_s),
    }


async def answered_s(address: DatabaseAddress) -> dict[str, float]:
    """Return when each request was answered, in seconds since 1970."""
    query = (
        "SELECT body ->> 'text', extract(epoch FROM at)::double precision FROM event"
        " WHERE type = 'reply.queued' AND body ->> 'schedule_id' IS NULL"
    )
    return {id: at_s for text, at_s in await look(address, query) for id in answered_by(text)}


def recovery_s(storm: Storm, answered_s: dict[str, float]) -> list[float]:
    """Return for each kill how long it took until what was accepted before it was answered."""
    spans = [(accepted_s, answered_s[id]) for id, accepted_s in storm.accepted_s.items() if id in answered_s]
    return [
        max((answered for accepted, answered in spans if accepted < killed_s < answered), default=killed_s) - killed_s
        for killed_s, _ in storm.kills
    ]


if __name__ == "__main__":
    main()
