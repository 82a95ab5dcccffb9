"""Channels: 200 text messages a second for a minute at Twilio's webhook, each signed, each acknowledged.

The box is a real `subclaw up`: what comes in goes through its router to the web process, which has the gateway check
the signature and PostgreSQL store the message, while the worker takes turns on what came before, and their replies go
out to a Twilio on loopback. One sender in twenty is a stranger, for whom a tenant is made; one message in fifty comes a
second time, as Twilio sends again what it believes lost.

The load is open: a message is sent when it is due, whatever became of those before, and how long its acknowledgement
took is counted from then. `--rate` and `--seconds` can be given.
Last line: JSON. `lost` are messages that were not acknowledged, or are in no transcript when all turns are done;
`duplicates` are in one twice. `cpu_ms_per_message` is of all processes of the box, so of the turns too; what those
took that only take messages in is by process. `late_p99_ms` says how late the load generator itself was: on a busy
machine it is a part of the rest. The status is 1 if a message was lost or doubled.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
import psycopg
import uvloop
from bench.turns import box, cpu_s_by_process, fake_model, measure_yardstick, openai_at

from subclaw.channels.sms.paths import WEBHOOK_PATH
from subclaw.egress.http.link import Link, Unanswered
from subclaw.egress.http.pool import Pool
from subclaw.egress.http.wire import Wire
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal
from subclaw.home import Home
from subclaw.store.cluster import private_address
from subclaw.store.database import Role
from subclaw.testing.channels.twilio import fake_twilio, inbound_sms, sign

RATE = 200
SECONDS = 60
KNOWN = 300
"""People who have written before the minute begins."""

STRANGERS = 20
"""One message in so many is of somebody new."""

AGAIN = 50
"""One message in so many comes a second time."""

ACCOUNT, TOKEN, NUMBER = "AC" + "0" * 32, "bench", "+15550100002"
SILENCE_S = 15.0
"""After this Twilio gives a webhook up."""

DRAIN_LIMIT_S = 300.0
STALLED_S = 10.0
"""Turns that tell agents of nothing new for so long are done."""

POLL_S = 0.5
LIMITS = Limits(pooled=1_000, pooled_s=60, idle_s=SILENCE_S)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text message as Twilio brings it: what it says, and the request's headers and body."""

    said: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of the load. Times are in seconds, from when each message was due."""

    took_s: Sequence[float]
    late_s: Sequence[float]
    statuses: Counter[int]
    refused: frozenset[str]
    wall_s: float


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--twilio", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.twilio:
        uvloop.run(serve_twilio())
        return
    with fake_model() as model_port, twilio() as twilio_url:
        settings = {
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_NUMBER": NUMBER,
            "TWILIO_BASE_URL": twilio_url,
        }
        with box(openai_at(model_port) | settings) as (supervisor, url):
            result = uvloop.run(measure(url, supervisor, given.rate, given.seconds))
    print(json.dumps(result))
    sys.exit(result["lost"] + result["duplicates"] > 0)


async def measure(url: str, supervisor: psutil.Process, rate: int, seconds: int) -> dict[str, Any]:
    """Send all there is to send, wait for the turns, and say what was seen."""
    home = Path(supervisor.environ()["SUBCLAW_HOME"])
    before, texts = texts_of(url, rate * seconds)
    pool = Pool(functools.partial(connected, url), LIMITS)
    await send_all(pool, before, rate / 4)
    cpu_before_s, yardsticks_s = cpu_s_by_process(supervisor), list[float]()
    measuring = asyncio.create_task(measure_yardstick(yardsticks_s))
    sent = await send_all(pool, texts, rate)
    cpu_s = {kind: after_s - cpu_before_s[kind] for kind, after_s in cpu_s_by_process(supervisor).items()}
    measuring.cancel()
    pool.close()
    told = await told_to_agents(home, len(before) + len({text.said for text in texts}))
    due = Counter(text.said for text in (*before, *texts))
    hundredths = statistics.quantiles(sent.took_s, n=100)
    return {
        "p99_ms": round(1000 * hundredths[98], 1),
        "p50_ms": round(1000 * hundredths[49], 1),
        "lost": len(sent.refused | {said for said in due if said not in told}),
        "duplicates": sum(count - 1 for count in told.values()),
        "messages_per_s": round(len(texts) / sent.wall_s, 1),
        "messages": len(texts),
        "max_ms": round(1000 * max(sent.took_s), 1),
        "late_p99_ms": round(1000 * statistics.quantiles(sent.late_s, n=100)[98], 1),
        "statuses": dict(sent.statuses),
        "cpu_ms_per_message": round(1000 * sum(cpu_s.values()) / len(texts), 2),
        "cpu_ms_by_process": {kind: round(1000 * used_s / len(texts), 2) for kind, used_s in cpu_s.items()},
        "yardstick_us": round(1e6 * statistics.median(yardsticks_s)),
        "tenants": KNOWN + len(texts) // STRANGERS,
    }


def texts_of(url: str, count: int) -> tuple[Sequence[Text], Sequence[Text]]:
    """Return a first message of each who is known, and then so many of them and of strangers, in a random order."""
    port = urlsplit(url).port
    chance, signed_url = random.Random(1), f"http://localhost:{port}{WEBHOOK_PATH}"
    first = [text_of(signed_url, f"first words {number}", number) for number in range(KNOWN)]
    texts, people = list[Text](), KNOWN
    for number in range(count):
        people += number % STRANGERS == 0
        person = people - 1 if number % STRANGERS == 0 else chance.randrange(people)
        again = texts and number % AGAIN == 1
        texts.append(texts[-1] if again else text_of(signed_url, f"words of message {number}", person))
    return first, texts


def text_of(signed_url: str, said: str, person: int) -> Text:
    """Return a person's message, signed."""
    params = inbound_sms(account_sid=ACCOUNT, sender=f"+1555{person:07}", to=NUMBER, text=said)
    body = urlencode(params).encode()
    headers = {
        "host": urlsplit(signed_url).netloc,
        "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
        "content-length": str(len(body)),
        "x-twilio-signature": sign(TOKEN, signed_url, params),
    }
    return Text(said=said, headers=[(key.encode(), value.encode()) for key, value in headers.items()], body=body)


async def send_all(pool: Pool, texts: Sequence[Text], rate: float) -> Sent:
    """Send so many a second, each when it is due."""
    began_s = time.perf_counter()
    took_s, late_s, statuses, refused = list[float](), list[float](), Counter[int](), set[str]()

    async def one(text: Text, due_s: float) -> None:
        late_s.append(time.perf_counter() - due_s)
        status = await send(pool, text)
        took_s.append(time.perf_counter() - due_s)
        statuses[status] += 1
        if status != 200:
            refused.add(text.said)

    async with asyncio.TaskGroup() as group:
        for number, text in enumerate(texts):
            due_s = began_s + number / rate
            if (early_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            group.create_task(one(text, due_s))
    return Sent(
        took_s=took_s,
        late_s=late_s,
        statuses=statuses,
        refused=frozenset(refused),
        wall_s=time.perf_counter() - began_s,
    )


async def send(pool: Pool, text: Text) -> int:
    """Post a message; return the answer's status, or 0 if there was none."""
    link = pool.take()
    try:
        link = link or await pool.connect()
        return await _post(link, pool, text)
    except (OSError, Unanswered, Refusal):
        if link:
            link.wire.abort()
        return 0


async def _post(link: Link, pool: Pool, text: Text) -> int:
    await link.send_head(b"POST", WEBHOOK_PATH, text.headers, text.body, ended=True)
    response = await link.response()
    while await link.body():
        pass
    pool.keep(link)
    return response.status


async def connected(url: str) -> Wire:
    """Connect to a box's router."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    _, wire = await asyncio.get_running_loop().create_connection(Wire, parts.hostname, parts.port)
    return wire


async def told_to_agents(home: Path, expected: int) -> Counter[str]:
    """Return how often each message stands in a transcript, once there are so many, or no more come."""
    address = private_address(Home(home).database_socket_folder)
    query = "SELECT body ->> 'text', count(*) FROM event WHERE type = 'message.received' GROUP BY 1"
    told, began_s = Counter[str](), time.monotonic()
    changed_s = began_s
    async with await psycopg.AsyncConnection.connect(address.conninfo(Role.OWNER), autocommit=True) as owner:
        while len(told) < expected and time.monotonic() < min(began_s + DRAIN_LIMIT_S, changed_s + STALLED_S):
            found = Counter[str](dict(await (await owner.execute(query)).fetchall()))
            if found != told:
                told, changed_s = found, time.monotonic()
            await asyncio.sleep(POLL_S)
    return told


@contextlib.contextmanager
def twilio() -> Iterator[str]:
    """Run a Twilio that takes replies; yields its address."""
    command = [sys.executable, "-m", "bench.channels", "--twilio"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def serve_twilio() -> None:
    """Serve until ended, and print the address."""
    async with fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN) as fake:
        print(fake.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
