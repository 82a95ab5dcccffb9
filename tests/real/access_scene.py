"""People, an agent that asks for access, and the page on which secrets are handed over, over a real PostgreSQL."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, LiteralString

import httpx2
from fastapi import FastAPI
from nacl.public import PrivateKey, SealedBox

from subclaw.core.agent import Access, AgentSettings
from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.model import ToolSaid, UserSaid
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.secret import label
from subclaw.core.tenant import TenantId
from subclaw.egress.vault import open_seal
from subclaw.handover.router import HandoverSettings, handover_router
from subclaw.store.access import StoreAccess
from subclaw.store.database import Database, DatabaseAddress, Role, connect, open_database
from subclaw.store.egress_rules import add_rule
from subclaw.store.tenant_egress import load_policy
from subclaw.testing.models import ScriptedModel
from subclaw.tools.access import access_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.intake import StoreIntake
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

DEADLINE_S = 30
URL = "http://localhost"
KEY = "ghp_" + "a1B2c3D4e5F6" * 3
"""A key that people send, and hand over."""


@dataclass(kw_only=True)
class Scene:
    """A database in each role, a scripted model, and the page."""

    address: DatabaseAddress
    database: Database
    operator: Database
    egress: Database
    model: ScriptedModel
    channel: str
    access: Access
    app: FastAPI = field(default_factory=FastAPI)
    gateway: PrivateKey = field(default_factory=PrivateKey.generate)
    said: int = 0

    def __post_init__(self) -> None:
        """Put the page up."""
        self.requests = StoreAccess(self.database, self.operator)
        settings = HandoverSettings(title="subclaw", public_key=bytes(self.gateway.public_key), access=self.access)
        self.app.include_router(handover_router(settings, self.database, self.requests))

    def turns(self) -> Turns:
        return Turns(
            database=self.database,
            model=self.model,
            toolbox=BuiltInToolbox(access_tools(self.requests, access=self.access, public_url=URL)),
            agent=AgentSettings(),
            instructions=lambda _: "be kind",
            sends=lambda channel: channel == "sms",
        )

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        running = asyncio.create_task(work(self.turns(), self.address, limit=8, closing_s=0))
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def say(self, text: str, *, id: str = "", sender: str = "a") -> Receipt:
        self.said += 1
        message = InboundMessage(
            sender=Address(channel=self.channel, address=sender),
            provider_id=id or f"m{self.said}",
            text=text,
            received_at=datetime.now(UTC),
        )
        intake = StoreIntake(self.database, sends=lambda channel: channel == "sms", public_url=URL)
        return await intake.receive(message)

    async def ask(self, text: str) -> str:
        """Say something and return the next reply."""
        before = len(await self.replies())
        await self.say(text)
        return (await self.until_replies(before + 1))[before]

    async def replies(self) -> list[str]:
        rows = await self.look(
            "SELECT body ->> 'text' FROM event WHERE type = 'reply.queued' ORDER BY conversation_id, seq"
        )
        return [text for (text,) in rows]

    async def until_replies(self, count: int) -> list[str]:
        async with asyncio.timeout(DEADLINE_S):
            while len(found := await self.replies()) < count:
                await asyncio.sleep(0.01)
        return found

    async def look(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """Ask as the owner, who sees all."""
        async with await connect(self.address, Role.OWNER) as connection:
            return await (await connection.execute(query)).fetchall()

    async def everything(self) -> str:
        """Return all that the database has, as text."""
        tables = await self.look("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        async with await connect(self.address, Role.OWNER) as connection:
            found = [await (await connection.execute(f"SELECT t::text FROM {name} t")).fetchall() for (name,) in tables]
        return str(found)

    async def deny(self, host: str) -> None:
        rule = Rule(host=host, mode=Mode.DENY, scope=Scope.OPERATOR)
        await add_rule(self.operator, rule, tenant_id=None, created_by="operator")

    async def secrets(self, tenant_id: TenantId) -> dict[str, str]:
        """Return a tenant's secrets as the gateway opens them."""
        box = SealedBox(self.gateway)
        policy = await load_policy(self.egress, tenant_id)
        return {
            one.name: open_seal(
                box, one.sealed, label(one.name, one.scope, one.tenant_id, one.placeholder, one.binding)
            ).reveal()
            for one in policy.secrets
        }

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url=URL) as client:
            yield client

    def told(self) -> str:
        """Return what the model was last sent, as text."""
        said = self.model.prompts[-1].history
        return "\n".join(
            one.text if isinstance(one, UserSaid) else one.content
            for one in said
            if isinstance(one, UserSaid | ToolSaid)
        )


@asynccontextmanager
async def scene(
    address: DatabaseAddress, model: ScriptedModel, *, channel: str = "web", access: Access = Access.USER
) -> AsyncIterator[Scene]:
    async with (
        open_database(address, Role.APP) as database,
        open_database(address, Role.OPERATOR, size=2) as operator,
        open_database(address, Role.EGRESS, size=1) as egress,
    ):
        yield Scene(
            address=address,
            database=database,
            operator=operator,
            egress=egress,
            model=model,
            channel=channel,
            access=access,
        )


def play(
    steps: Callable[[Scene], Awaitable[None]], address: DatabaseAddress, model: ScriptedModel, **options: Any
) -> None:
    async def main() -> None:
        async with asyncio.timeout(4 * DEADLINE_S), scene(address, model, **options) as made:
            await steps(made)

    asyncio.run(main())


def link_in(text: str) -> str:
    """Return the path of the one link in a text."""
    (path,) = re.findall(rf"{URL}(/secret/[A-Za-z0-9_-]{{43}})(?![A-Za-z0-9_-])", text)
    return str(path)


def code_in(reply: str) -> str:
    (code,) = re.findall(r"^Reply OK (\d{4}) or NO", reply, re.MULTILINE)
    return str(code)
