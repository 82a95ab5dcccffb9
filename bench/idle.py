"""Idle: what a box with 10,000 silent tenants costs, each of whom has said 50 things and been answered 50 times.

The rows are written straight into the database of a real `subclaw up`, which is then stopped and started again. Its
memory and its processor time are those of all its processes, PostgreSQL, Caddy and the host of machines too, and are
taken once it is quiet. Last line: JSON with rss_mb_total, idle_cpu_percent (of one processor), start_s (until it
serves) and disk_kb_per_tenant; pss_mb_total counts shared pages once.
"""

import json
import time
from pathlib import Path

import psutil
import psycopg
from tests.real.box.running import RunningBox, ask, running_box, state_folder

from subclaw.home import Home
from subclaw.store.cluster import private_address
from subclaw.store.database import Role

TENANTS = 10_000
EXCHANGES = 50
QUIET_S = 15.0
WATCHED_S = 60.0

FILL = f"""
INSERT INTO tenant (id, name) SELECT n, 'tenant-' || n FROM generate_series(1000000, 1000000 + {TENANTS} - 1) AS n;

INSERT INTO identity SELECT 'web', md5(id::text), id FROM tenant WHERE id >= 1000000;

INSERT INTO conversation (tenant_id, channel, address, next_seq, inbox_seq, drained_seq)
    SELECT id, 'web', md5(id::text), 5 * {EXCHANGES} + 1, {EXCHANGES}, {EXCHANGES} FROM tenant WHERE id >= 1000000;

INSERT INTO inbox (conversation_id, seq, tenant_id, provider_id, text, received_at)
    SELECT c.id, n, c.tenant_id, gen_random_uuid()::text, repeat('something that a person says ', 3), now()
    FROM conversation c, generate_series(1, {EXCHANGES}) AS n WHERE c.tenant_id >= 1000000;

INSERT INTO event (conversation_id, seq, tenant_id, type, body)
    SELECT c.id, 5 * (n - 1) + e.place, c.tenant_id, e.type, e.body
    FROM conversation c, generate_series(1, {EXCHANGES}) AS n, (VALUES
        (1, 'turn.started', '{{}}'::jsonb),
        (2, 'message.received', jsonb_build_object('text', repeat('something that a person says ', 3),
                                                   'provider_id', gen_random_uuid())),
        (3, 'model.replied', jsonb_build_object('text', repeat('something that an agent says ', 6),
                                                'calls', '[]'::jsonb, 'usage',
                                                '{{"model": "m", "input_tokens": 1000, "output_tokens": 40}}'::jsonb)),
        (4, 'reply.queued', jsonb_build_object('text', repeat('something that an agent says ', 6))),
        (5, 'turn.finished', '{{"outcome": "answered"}}'::jsonb)
    ) AS e (place, type, body) WHERE c.tenant_id >= 1000000;

INSERT INTO usage (conversation_id, seq, tenant_id, model, input_tokens, output_tokens)
    SELECT conversation_id, seq, tenant_id, 'm', 1000, 40 FROM event
    WHERE type = 'model.replied' AND tenant_id >= 1000000;

VACUUM ANALYZE;
"""


def fill(home: Path) -> None:
    """Write the tenants and all that they have said."""
    address = private_address(Home(home).database_socket_folder)
    with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
        for statement in FILL.split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())


def processes(box: RunningBox) -> list[psutil.Process]:
    """Return all processes of a box."""
    supervisor = psutil.Process(box.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def cpu_s(box: RunningBox) -> float:
    """Return the processor time that a box has used so far."""
    times = [process.cpu_times() for process in processes(box)]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def idle_cpu_percent(box: RunningBox) -> float:
    """Watch a box that nobody uses."""
    time.sleep(QUIET_S)
    before_s = cpu_s(box)
    time.sleep(WATCHED_S)
    return 100 * (cpu_s(box) - before_s) / WATCHED_S


def folder_bytes(home: Path) -> int:
    """Return what a state folder takes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in home.rglob("*"))


def main() -> None:
    """Fill, start again, watch, print."""
    with state_folder() as home:
        with running_box(home) as box:
            ask(box, "hello")
            empty_bytes = folder_bytes(home)
            fill(home)
        filled_bytes = folder_bytes(home)
        began = time.monotonic()
        with running_box(home) as box:
            start_s = time.monotonic() - began
            percent = idle_cpu_percent(box)
            memory = [process.memory_full_info() for process in processes(box)]
            ask(box, "hello")
    result = {
        "tenants": TENANTS,
        "messages_each": 2 * EXCHANGES,
        "rss_mb_total": round(sum(part.rss for part in memory) / 2**20),
        "pss_mb_total": round(sum(part.pss for part in memory) / 2**20),
        "idle_cpu_percent": round(percent, 2),
        "start_s": round(start_s, 2),
        "disk_kb_per_tenant": round((filled_bytes - empty_bytes) / TENANTS / 1000, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
