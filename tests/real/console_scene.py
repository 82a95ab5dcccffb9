"""A console over a real PostgreSQL in which things have happened, with words in it that no page may show."""

import html
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI

from subclaw.console.access import hash_key, new_key
from subclaw.console.router import ConsoleSettings, console_router
from subclaw.core.channel import Address, Delivery, InboundMessage, SendResult
from subclaw.core.channel_report import ChannelReport
from subclaw.core.errors import Unavailable
from subclaw.core.event import Event, ModelReplied, ReplyQueued, ToolFinished, ToolStarted, TurnFinished, TurnOutcome
from subclaw.core.machine import MachineStatus
from subclaw.core.model import Usage
from subclaw.core.tenant import TenantId
from subclaw.core.tool import ToolCall
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.outbox import claim_outbox, settle_failed

CANARY = "kanarienvogel"
"""Part of everything that a tenant, its agent or a model said."""

NUMBER = "+15550001234567"
WORKER = 7
HOSTILE = '<img src=x onerror="document.title=`owned`">'


@dataclass(kw_only=True)
class Fleet:
    """Machines as their host lists them. `up` set to False makes it answer nobody."""

    awake: list[MachineStatus] = field(default_factory=list)
    up: bool = True

    async def statuses(self) -> tuple[MachineStatus, ...]:
        if not self.up:
            raise Unavailable("The host of machines is not running.")
        return tuple(self.awake)

    async def sleep(self, tenant_id: TenantId) -> None:
        if not self.up:
            raise Unavailable("The host of machines is not running.")
        self.awake = [machine for machine in self.awake if machine.tenant_id != tenant_id]


@dataclass(kw_only=True)
class Scene:
    """A console: its application, its key, its machines, and the tenants' side of its database."""

    app: FastAPI
    key: str
    fleet: Fleet
    database: Database
    parts: dict[str, Path] = field(default_factory=dict)


async def examined() -> Sequence[ChannelReport]:
    """Report on one channel that works, one that does not, and one that is not set up."""
    sms = ("https://agents.example/webhooks/twilio/sms", "Twilio, the page of the number")
    bare = ChannelReport(name="x", title="X", is_set_up=False, place="", webhooks=(), works=None, words="set X_TOKEN")
    return [
        replace(bare, title="SMS", is_set_up=True, place="+15550009999", webhooks=(sms,), works=True, words="well"),
        replace(bare, title="Telegram", is_set_up=True, place="t.me/x", works=False, words="the token is wrong"),
        bare,
    ]


@asynccontextmanager
async def console(
    address: DatabaseAddress, public_url: str, parts: dict[str, Path] | None = None
) -> AsyncIterator[Scene]:
    """Make a console for the life of the block."""
    key, fleet, app = new_key(), Fleet(), FastAPI()
    settings = ConsoleSettings(
        key_hash=hash_key(key),
        public_url=public_url,
        title="subclaw",
        model="demo",
        channels=("web chat",),
        parts=parts or {},
        examine=examined,
    )
    async with open_database(address, Role.APP) as database, open_database(address, Role.OPERATOR, size=2) as operator:
        app.include_router(console_router(settings, operator, fleet))
        yield Scene(app=app, key=key, fleet=fleet, database=database)


def machine(tenant_id: int, *, idle_s: float = 65.0) -> MachineStatus:
    """Return a machine that is awake."""
    return MachineStatus(
        tenant_id=TenantId(tenant_id),
        generation=1,
        process_id=4321,
        image="0123456789abcdef",
        accelerator="kvm",
        idle_s=idle_s,
        awake_s=400.0,
    )


async def hear(database: Database, *, name: str, channel: str = "web", address: str = "a" * 64, number: int = 1) -> int:
    """Store a message with the canary in it; return the tenant's id."""
    message = InboundMessage(
        sender=Address(channel=channel, address=address),
        provider_id=f"{CANARY}-{number}",
        text=f"my {CANARY} is ill",
        received_at=datetime.now(UTC),
    )
    return (await conversations.receive(database, message, [name])).tenant_id


async def answer(database: Database, *, outcome: TurnOutcome = TurnOutcome.ANSWERED, send: bool = False) -> None:
    """Run a turn of each conversation that waits: a model that calls a tool, and answers; all with the canary."""
    for lease in await conversations.claim(database, WORKER, 100):
        await conversations.open_turn(database, lease)
        call = ToolCall(id="c1", name=f"ask_{CANARY}", arguments=f'{{"about": "{CANARY}"}}')
        asked = ModelReplied(text=f"{CANARY}?", calls=(call,), usage=used(1200, 34))
        told = ModelReplied(text=CANARY, calls=(), usage=used(1300, 56))
        done = ToolFinished(call_id="c1", content=f"{CANARY}!", is_error=True)
        await conversations.append(database, lease, [asked, ToolStarted(call_id="c1"), done, told])
        last: list[Event] = [ReplyQueued(text=f"poor {CANARY}"), TurnFinished(outcome=outcome)]
        await conversations.finish(database, lease, last, reply=f"poor {CANARY}", send=send)


def used(input_tokens: int, output_tokens: int) -> Usage:
    """Return what a call of the model used."""
    return Usage(model="m-1", input_tokens=input_tokens, output_tokens=output_tokens)


async def fail(database: Database, details: Sequence[tuple[str, float | None]]) -> None:
    """Let what is in the outbox fail for these reasons, each to be tried again after so many seconds, if at all."""
    claimed = await claim_outbox(database, WORKER, len(details))
    for one, (detail, delay_s) in zip(claimed, details, strict=True):
        await settle_failed(database, WORKER, one, 0, SendResult(delivery=Delivery.FAILED, detail=detail), delay_s)


async def plant(scene: Scene) -> int:
    """Let all kinds of things happen, and return a tenant to whom they did."""
    tenant_id = await hear(scene.database, name="calm-otter")
    await answer(scene.database)
    await hear(scene.database, name="swift-lark", channel="sms", address=NUMBER)
    await hear(scene.database, name="merry-finch", channel="<b>carrier</b> pigeon", address="roof-top-17")
    await answer(scene.database, outcome=TurnOutcome.STUCK, send=True)
    await fail(scene.database, [(HOSTILE, None), ("no connection to Twilio", 2.0)])
    # Two more that are in hand, so that something runs.
    await hear(scene.database, name="calm-otter", number=2)
    for lease in await conversations.claim(scene.database, WORKER, 10):
        await conversations.open_turn(scene.database, lease)
    scene.fleet.awake = [machine(tenant_id), machine(tenant_id + 1, idle_s=0.0)]
    return tenant_id


def links(page: str) -> set[str]:
    """Return the console's own addresses that a page leads to."""
    return {html.unescape(path) for path in re.findall(r'href="(/console[^"]*)"', page)}
