"""Reminders: 10,000 that are due within a minute, on two replicas, one of which is killed by SIGKILL in the middle.

The replicas are processes of their own that keep time as a worker does, over a PostgreSQL whose commits are durable.
A thousand conversations have ten reminders each: messages of the web chat, texts for the outbox, turns of the agent;
a fifth of them come again each day in a time zone of its own. Half a minute in, one replica dies, and stays dead. Then
the same with all 10,000 due at the same instant, where it dies once a tenth have happened.

`--count` and `--spread` (seconds) can be given. Last line: JSON. `lost` and `duplicate` count reminders that did not
happen, or more than once: as an event, a message in the inbox or a row in the outbox, or that stand at the wrong next
time. `late_p99_s` is how late they were by the database's clock, in the minute; `at_once_` when all were due at once.
The status is 1 if one was lost or doubled.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from subclaw.schedules.reminders import keep_time
from subclaw.store.cluster import cluster_command, make_cluster, private_address
from subclaw.store.database import Connection, DatabaseAddress, Role, connect, open_database
from subclaw.store.provision import provision
from subclaw.testing.postgres import AS_CLUSTER_USER, ROLES

COUNT = 10_000
SPREAD_S = 60.0
EACH = 10
LEAD_S = 3.0
"""How long after it was set the first is due: the replicas have begun to keep time by then."""

START_LIMIT_S = 30.0
DRAIN_LIMIT_S = 120.0
POLL_S = 0.1
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")

PLANT = """
    WITH tenants AS (
        INSERT INTO tenant (name) SELECT format('t-%%s', n) FROM generate_series(1, %(people)s) n RETURNING id
    ), conversations AS (
        INSERT INTO conversation (tenant_id, channel, address)
            SELECT id, CASE WHEN id %% 2 = 0 THEN 'web' ELSE 'sms' END, format('a-%%s', id) FROM tenants
            RETURNING id, tenant_id
    ), due AS (
        SELECT c.id, c.tenant_id, n, now() + make_interval(secs => %(lead)s + %(spread)s * random()) AS at,
               (%(zones)s::text[])[1 + c.id %% %(places)s] AS zone
        FROM conversations c, generate_series(1, %(each)s) n
    )
    INSERT INTO schedule (tenant_id, conversation_id, call_id, due_at, mode, text, time_zone, repeat, wall_at)
        SELECT d.tenant_id, d.id, format('call_%%s', d.n), d.at,
               CASE WHEN d.n %% 3 = 0 THEN 'agent_turn' ELSE 'message' END, 'drink', d.zone,
               CASE WHEN d.n %% 5 = 0 THEN 'FREQ=DAILY' END,
               CASE WHEN d.n %% 5 = 0 THEN d.at AT TIME ZONE d.zone END
        FROM due d
"""

HAPPENED = "SELECT count(*) FROM schedule WHERE times > 0"

FOUND = """
    SELECT s.id, s.times,
           CASE WHEN s.repeat IS NULL THEN s.state = 'fired'
                ELSE s.state = 'pending' AND s.due_at - s.last_due_at BETWEEN interval '22 hours' AND '26 hours' END,
           CASE s.mode WHEN 'message' THEN coalesce(e.count, 0) ELSE coalesce(i.count, 0) END,
           CASE WHEN s.mode = 'message' AND c.channel = 'sms' THEN coalesce(o.count, 0) ELSE 1 END,
           extract(epoch FROM s.fired_at - s.last_due_at)::double precision
    FROM schedule s JOIN conversation c ON c.id = s.conversation_id
    LEFT JOIN (SELECT (body ->> 'schedule_id')::bigint AS id, count(*) FROM event GROUP BY 1) e ON e.id = s.id
    LEFT JOIN (SELECT split_part(provider_id, ':', 2)::bigint AS id, count(*) FROM inbox GROUP BY 1) i ON i.id = s.id
    LEFT JOIN (SELECT schedule_id AS id, count(*) FROM outbox GROUP BY 1) o ON o.id = s.id
"""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--spread", type=float, default=SPREAD_S)
    parser.add_argument("--keep", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.keep:
        uvloop.run(keep(DatabaseAddress(url=given.keep, private=True)))
        return
    with tempfile.TemporaryDirectory(prefix="subclaw-reminders-", dir="/var/tmp") as name:
        in_a_minute = asyncio.run(run(Path(name) / "minute", given.count, given.spread))
        at_once = asyncio.run(run(Path(name) / "once", given.count, 0))
    result = {
        "reminders": 2 * given.count,
        "killed": in_a_minute.pop("killed") + at_once.pop("killed"),
        "lost": in_a_minute.pop("lost") + at_once.pop("lost"),
        "duplicate": in_a_minute.pop("duplicate") + at_once.pop("duplicate"),
        **in_a_minute,
        **{f"at_once_{key}": value for key, value in at_once.items()},
    }
    print(json.dumps(result))
    sys.exit(result["lost"] + result["duplicate"] > 0)


async def keep(address: DatabaseAddress) -> None:
    """Keep time as a worker does, until killed."""
    async with open_database(address, Role.APP) as database:
        await keep_time(database, address, read_in_place=["web"])


async def run(folder: Path, count: int, spread_s: float) -> dict[str, Any]:
    """Let so many reminders happen within so many seconds; return what became of them."""
    async with running_database(folder) as address, await connect(address, Role.OWNER) as owner:
        async with replicas(address) as (doomed, other):
            await plant(owner, count, spread_s)
            print(f"{count} reminders are due within {spread_s:.0f} s", flush=True)
            began_s = time.monotonic()
            await until_happened(owner, count // 2 if spread_s else count // 10)
            doomed.kill()
            await doomed.wait()
            before = await happened(owner)
            await until_happened(owner, count)
            took_s = time.monotonic() - began_s
            cpu_s = sum(psutil.Process(other.pid).cpu_times()[:2])
        rows = await (await owner.execute(FOUND)).fetchall()
    print(f"one was killed after {before}", flush=True)
    return {"killed": 1, **judged(rows, count), "took_s": round(took_s, 1), "survivor_cpu_s": round(cpu_s, 2)}


def judged(rows: Sequence[tuple[Any, ...]], count: int) -> dict[str, Any]:
    """Return what was found of the reminders."""
    late_s = sorted(late_s for *_, late_s in rows if late_s is not None)
    hundredths = statistics.quantiles(late_s, n=100, method="inclusive")
    return {
        "lost": count
        - len(rows)
        + sum(min(times, said, sent) < 1 or not right for _, times, right, said, sent, _ in rows),
        "duplicate": sum(max(times, said, sent) > 1 for _, times, _, said, sent, _ in rows),
        "late_p50_s": round(hundredths[49], 3),
        "late_p99_s": round(hundredths[98], 3),
        "late_max_s": round(late_s[-1], 3),
    }


async def plant(owner: Connection, count: int, spread_s: float) -> None:
    """Make the tenants, their conversations and what is due in them."""
    planted = {"people": count // EACH, "each": EACH, "lead": LEAD_S, "spread": spread_s}
    await owner.execute(PLANT, {**planted, "zones": list(ZONES), "places": len(ZONES)})
    await owner.execute("ANALYZE")
    await owner.execute("NOTIFY subclaw_schedule")


async def happened(owner: Connection) -> int:
    """Return how many reminders have happened."""
    ((count,),) = await (await owner.execute(HAPPENED)).fetchall()
    return int(count)


async def until_happened(owner: Connection, count: int) -> None:
    """Wait until so many have happened, but not for ever: what is missing then is lost."""
    until_s = time.monotonic() + DRAIN_LIMIT_S
    while await happened(owner) < count and time.monotonic() < until_s:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def replicas(address: DatabaseAddress) -> AsyncIterator[tuple[Process, Process]]:
    """Run two replicas for the life of the block."""
    command = [sys.executable, "-m", "bench.reminders", "--keep", address.url]
    running = [await asyncio.create_subprocess_exec(*command) for _ in range(2)]
    try:
        yield running[0], running[1]
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()


def make_database(folder: Path) -> None:
    """Make a cluster."""
    folder.parent.chmod(0o755)
    folder.mkdir()
    subprocess.run(["chown", "subclaw-db:", str(folder)], check=True)
    make_cluster(folder / "data", as_user=AS_CLUSTER_USER, roles={"root": ROLES}, owner_user="root")


@asynccontextmanager
async def running_database(folder: Path) -> AsyncIterator[DatabaseAddress]:
    """Run a cluster whose commits are durable, for the life of the block."""
    make_database(folder)
    command = [*AS_CLUSTER_USER, "--pdeathsig=INT", *cluster_command(folder / "data", folder)]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    try:
        address = private_address(folder)
        await provision(address, timeout_s=START_LIMIT_S)
        yield address
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    main()
