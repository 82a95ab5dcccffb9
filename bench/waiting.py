"""Waiting: 2,000 conversations whose model takes 30 s, in one worker; what they cost, and what a newcomer notices.

The box is a real `subclaw up`; the model is a local server that answers everybody at once, 30 seconds after the first
has asked or when all have. Meanwhile one more person writes, whose model answers at once. Last line: JSON with waiting,
worker_rss_mb, egress_rss_mb, database_connections_held (while all wait), newcomer_ms, all_asked_s, and all_answered_s
(after the model did).
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from anyio.from_thread import start_blocking_portal
from bench.turns import box, openai_at
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from subclaw.channels.web.client import web_person
from subclaw.home import Home
from subclaw.store.cluster import private_address
from subclaw.store.database import Role
from subclaw.testing.serving import serving

WAITING = 2_000
SENDERS = 20
THINKING_S = 30.0
LIMIT_S = 300.0
NEWCOMER = "are you there?"
HELD = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'subclaw app' AND state <> 'idle'"
ANSWERED = "SELECT count(*) FROM event WHERE type = 'turn.finished'"


@dataclass
class SlowModel:
    """A provider that holds every answer until it is let go, but the newcomer's."""

    waiting: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(routes=[Route("/v1/chat/completions", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> JSONResponse:
        """Answer a chat completion."""
        asked = await request.json()
        if asked["messages"][-1]["content"] != NEWCOMER:
            self.waiting += 1
            await self.let_go.wait()
        message = {"role": "assistant", "content": "Yes."}
        return JSONResponse(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )


async def write(url: str, people: int) -> None:
    """Have people write one message each, one after the other."""
    for _ in range(people):
        async with web_person(url) as person:
            await person.say("take your time")


async def newcomer_ms(url: str) -> float:
    """Have one more person write, and return how long the reply took."""
    async with web_person(url) as person:
        began = time.perf_counter()
        await person.say(NEWCOMER)
        await person.reply()
        return (time.perf_counter() - began) * 1000


def count(home: Path, query: str) -> int:
    """Ask the box's database for a number."""
    address = private_address(Home(home).database_socket_folder)
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        ((number,),) = connection.execute(query.encode()).fetchall()
        return int(number)


def rss_mb(supervisor: psutil.Process, name: str) -> float:
    """Return the memory of one of a box's processes."""
    (process,) = [child for child in supervisor.children(recursive=True) if child.cmdline()[-2:] == ["serve", name]]
    return process.memory_info().rss / 2**20


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("that took too long")
        time.sleep(0.1)


def main() -> None:
    model = SlowModel()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(model.app())) as port,
        box(openai_at(port)) as (supervisor, url),
    ):
        home = Path(supervisor.environ()["SUBCLAW_HOME"])
        began = time.monotonic()
        asyncio.run(everybody_writes(url))
        wait_for(lambda: model.waiting >= WAITING)
        asked_s = time.monotonic() - began
        held = count(home, HELD)
        newcomer = asyncio.run(newcomer_ms(url))
        time.sleep(max(0.0, THINKING_S - asked_s))
        worker_mb, egress_mb = rss_mb(supervisor, "worker"), rss_mb(supervisor, "egress")
        let_go = time.monotonic()
        portal.call(model.let_go.set)
        wait_for(lambda: count(home, ANSWERED) > WAITING)
        answered_s = time.monotonic() - let_go
    result = {
        "waiting": WAITING,
        "worker_rss_mb": round(worker_mb),
        "egress_rss_mb": round(egress_mb),
        "database_connections_held": held,
        "newcomer_ms": round(newcomer),
        "all_asked_s": round(asked_s, 1),
        "all_answered_s": round(answered_s, 1),
    }
    print(json.dumps(result))


async def everybody_writes(url: str) -> None:
    """Have everybody write at once, as far as the senders get."""
    await asyncio.gather(*(write(url, WAITING // SENDERS) for _ in range(SENDERS)))


if __name__ == "__main__":
    main()
