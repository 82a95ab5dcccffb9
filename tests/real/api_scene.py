"""The HTTP API for tests: served for real, over a real database, with a worker whose model is scripted."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
import psycopg
from fastapi import FastAPI
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from subclaw.api.app import make_app
from subclaw.api.v1.app import PATH, make_api
from subclaw.api.v1.inside import Inside
from subclaw.api.widget import widget_router
from subclaw.channels.registry import goes_out
from subclaw.core.agent import AgentSettings
from subclaw.core.api_key import KEY_BYTES, Scope, new_key
from subclaw.core.model import Model
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.store.api_keys import make_key
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.feed import StoreFeed
from subclaw.store.flush import Flush
from subclaw.store.live import LiveFeed
from subclaw.testing.models import Answer, ScriptedModel, words
from subclaw.testing.serving import serving
from subclaw.tools.toolbox import BuiltInToolbox, Tool
from subclaw.turns.accounts import AccountLinks
from subclaw.turns.approvals import keep_deadlines
from subclaw.turns.intake import StoreIntake
from subclaw.turns.live import LiveWords
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

DEADLINE_S = 60.0
SEAL_TO = bytes(PrivateKey.generate().public_key)


@dataclass(kw_only=True)
class Scene:
    """The API, served at `url`. `destroyed` are the tenants whose machines were destroyed.

    `files` are what tenants' machines have, as pieces of a tar.
    """

    address: DatabaseAddress
    database: Database
    operator: Database
    app: FastAPI
    url: str
    model: ScriptedModel
    destroyed: list[TenantId] = field(default_factory=list)
    files: dict[TenantId, Sequence[bytes]] = field(default_factory=dict)

    async def key(
        self, *scopes: Scope, agents: Sequence[str] = (), per_minute: int = 100_000, life: timedelta | None = None
    ) -> str:
        """Make a key, for everything if no scope is said."""
        key = new_key(secrets.token_bytes(KEY_BYTES))
        await make_key(
            self.operator,
            key,
            name="test",
            scopes=scopes or tuple(Scope),
            agents=agents,
            per_minute=per_minute,
            life=life,
        )
        return key

    @asynccontextmanager
    async def client(self, key: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """Open a client that shows a key: one for everything, if none is given."""
        headers = {"Authorization": f"Bearer {key or await self.key()}"}
        async with httpx2.AsyncClient(
            base_url=f"{self.url}/v1", headers=headers, trust_env=False, timeout=30
        ) as client:
            yield client


async def open_session(client: httpx2.AsyncClient, customer: str = "anna", **more: Any) -> str:
    """Open a session with the agent `support`; return its id."""
    response = await client.post("/agents/support/sessions", json={"customer": customer, **more})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def until_replied(client: httpx2.AsyncClient, session: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until a session has so many replies and no turn runs; return its events."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            page = (await client.get(f"/sessions/{session}/events", params={"limit": 100})).json()
            replies = [event for event in page["data"] if event["type"] == "reply"]
            if len(replies) >= count and not page["working"]:
                return list(page["data"])
            await asyncio.sleep(0.02)


def play(
    scenario: Callable[[Scene], Awaitable[None]],
    address: DatabaseAddress,
    answers: Sequence[Answer | Callable[..., Answer]] = (words("Hello, how can I help?"),),
    *,
    approve: Sequence[str] = (),
    streams_limit: int = 100,
) -> None:
    """Run a scenario in a scene of its own."""

    async def run() -> None:
        async with (
            asyncio.timeout(DEADLINE_S * 2),
            scene(address, ScriptedModel(answers), approve=approve, streams_limit=streams_limit) as made,
        ):
            await scenario(made)

    asyncio.run(run())


@asynccontextmanager
async def scene(
    address: DatabaseAddress,
    model: ScriptedModel,
    *,
    approve: Sequence[str] = (),
    streams_limit: int = 100,
    seal_to: bytes = SEAL_TO,
    works: bool = True,
) -> AsyncIterator[Scene]:
    """Serve the API, and with a worker if it `works`, until the block ends."""
    _apply_agents(address)
    async with (
        open_database(address, Role.APP) as database,
        open_database(address, Role.OPERATOR, size=4) as operator,
        asyncio.TaskGroup() as group,
    ):
        feed, live = StoreFeed(database, address), LiveFeed(database, address)
        destroyed: list[TenantId] = []
        files: dict[TenantId, Sequence[bytes]] = {}
        links = AccountLinks(database=database, public_key=seal_to, site_url=lambda name: "http://localhost/")

        async def destroy(tenant_id: TenantId) -> bool:
            destroyed.append(tenant_id)
            return True

        async def no_files(tenant_id: TenantId) -> int:
            return 0

        agent = AgentSettings(approve=tuple(approve))
        inside = Inside(
            database=database,
            operator=operator,
            feed=feed,
            live=live,
            intake=StoreIntake(database, sends=goes_out, public_url="http://localhost", limits=agent.limits),
            seal_to=seal_to,
            receipts=SigningKey.generate(),
            destroy_machine=destroy,
            machine_files=lambda tenant_id: _files(files.get(tenant_id, ())),
            start_account=links.start,
            remove_files=no_files,
            streams_limit=streams_limit,
        )

        async def check() -> None:
            await database.rows("SELECT 1")

        words = LiveWords(database)
        app = make_app([widget_router()], check=check, below={PATH: make_api(inside)})
        background = [
            group.create_task(feed.run()),
            group.create_task(live.run()),
            group.create_task(words.run()),
            group.create_task(keep_deadlines(database, read_in_place=("api",))),
        ]
        if works:
            turns = turns_of(database, model, agent, words)
            background.append(group.create_task(work(turns, address, limit=64, closing_s=0)))
        await feed.listening.wait()
        await live.listening.wait()
        try:
            async with serving(app) as port:
                url = f"http://127.0.0.1:{port}"
                made = Scene(address=address, database=database, operator=operator, app=app, url=url, model=model)
                made.destroyed, made.files = destroyed, files
                yield made
                feed.end()
        finally:
            for task in background:
                task.cancel()


async def _files(pieces: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


def turns_of(database: Database, model: Model, agent: AgentSettings, live: LiveWords) -> Turns:
    """Return turns of customers, with a tool `refund`."""

    async def done(caller: Caller, arguments: Mapping[str, Any]) -> str:
        return f"done {arguments.get('amount', '')}"

    definition = ToolDefinition(name="refund", description="", parameters={"type": "object"}, idempotent=True)
    return Turns(
        database=database,
        model=model,
        toolbox=BuiltInToolbox([Tool(definition=definition, perform=done)]),
        agent=agent,
        instructions=lambda _: "be kind",
        sends=goes_out,
        flush=Flush(database),
        live=live,
    )


def _apply_agents(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
        for agent in ("support", "sales"):
            owner.execute("INSERT INTO agent (id) VALUES (%s)", [agent])
            owner.execute(
                "INSERT INTO agent_version (agent, number, digest, paths, contents, channels)"
                " VALUES (%s, 1, %s, '{}', '{}', '{api,widget}')",
                [agent, agent],
            )
            owner.execute("UPDATE agent SET live = 1 WHERE id = %s", [agent])
