"""A control plane in one process, with the channels of an environment: store, gateway, routes, turns, outbox.

Only the model is scripted. Providers are local servers, whose base URLs stand in the environment.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from fastapi import FastAPI

from subclaw.channels.kind import Inside, Outside
from subclaw.channels.listening import keep_listening, keep_serving
from subclaw.channels.registry import SECRETS, count_segments, goes_out, open_channels, read_channels
from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Channel
from subclaw.core.delivery import DeliveryTimes
from subclaw.core.errors import NotFound
from subclaw.core.machine import FileSlice
from subclaw.core.model import ModelReply, Prompt, UserSaid
from subclaw.core.tenant import TenantId
from subclaw.egress.control.client import gateway_client, verify
from subclaw.pages.files import files_router
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.feed import StoreFeed
from subclaw.store.heard import heard_lately, last_heard
from subclaw.store.keeping import StoreKeeping
from subclaw.store.outbox import StoreReports
from subclaw.store.outgoing import open_file
from subclaw.testing.egress import running_gateway
from subclaw.testing.models import ScriptedModel, words
from subclaw.testing.serving import serving
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.attachments import Attachments
from subclaw.turns.intake import StoreIntake
from subclaw.turns.outbox import deliver
from subclaw.turns.outgoing import OutgoingFiles
from subclaw.turns.run import Turns
from subclaw.turns.typing import Typist
from subclaw.turns.worker import work

PUBLIC_URL = "https://agents.example"
QUICK = DeliveryTimes(ask_after_s=(0.05, 0.2, 0.4), untold_s=0.1, hold_s=2, tick_s=0.05)

Answer = Callable[[Prompt], ModelReply]


def echo(prompt: Prompt) -> ModelReply:
    """Answer with what was said last."""
    return words("You said: " + said(prompt)[-1])


def said(prompt: Prompt) -> list[str]:
    """Return what people said, as the model is told it."""
    return [one.text for one in prompt.history if isinstance(one, UserSaid)]


class MemoryFiles:
    """Tenants' files, in memory. `home` are those that every tenant has."""

    def __init__(self) -> None:
        self.written: dict[tuple[TenantId, str], bytes] = {}
        self.home: dict[str, bytes] = {}

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        """See `core.machine.Machines.write`."""
        self.written[tenant_id, path] = content

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """See `core.machine.Machines.read`."""
        content = self.written.get((tenant_id, path), self.home.get(path))
        if content is None:
            raise NotFound("There is no such file.")
        part = content[offset_bytes : offset_bytes + limit_bytes]
        return FileSlice(content=part, offset_bytes=offset_bytes, size_bytes=len(content))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What runs. `url` is where the routes are served, which stand under `PUBLIC_URL` for providers."""

    url: str
    outside: Outside
    channels: Mapping[str, Channel]
    model: ScriptedModel
    address: DatabaseAddress
    files: MemoryFiles = field(default_factory=MemoryFiles)

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Ask the database as its owner."""
        with psycopg.connect(self.address.conninfo(Role.OWNER), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    async def until(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Wait until the database has rows for a query; return them."""
        async with asyncio.timeout(30):
            while not (found := await asyncio.to_thread(self.rows, query, *parameters)):
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def channel_scene(
    address: DatabaseAddress,
    folder: Path,
    environ: Mapping[str, str],
    answer: Answer = echo,
    *,
    public_url: str | None = PUBLIC_URL,
) -> AsyncIterator[Scene]:
    """Run everything for the life of the block. `environ` is the operator's, secrets included."""
    secrets = {name: environ[variable] for variable, name in SECRETS.items() if variable in environ}
    set_up = read_channels({name: value for name, value in environ.items() if name not in SECRETS})
    upstreams = [upstream for one in set_up for upstream in one.upstreams]
    signatures = {scheme: signed for one in set_up for scheme, signed in one.signatures.items()}
    relays = [relay for one in set_up for relay in one.relays]
    async with (
        running_gateway(folder, upstreams, secrets, signatures=signatures, relays=relays) as socket,
        gateway_client(socket) as gateway,
        open_database(address, Role.APP) as database,
    ):
        intake = StoreIntake(database, sends=goes_out, public_url=PUBLIC_URL)
        inside = Inside(
            intake=intake,
            feed=StoreFeed(database, address),
            reports=StoreReports(database),
            verify=functools.partial(verify, gateway),
            public_url=PUBLIC_URL,
            title="subclaw",
            gateway_socket=socket,
        )
        outside = Outside(
            gateway_socket=socket,
            public_url=public_url,
            intake=intake,
            last_heard=functools.partial(last_heard, database),
            heard_lately=functools.partial(heard_lately, database),
            keeping=functools.partial(StoreKeeping, database, address),
        )
        app = FastAPI()
        for one in set_up:
            if one.routes:
                app.include_router(one.routes(inside))
        app.include_router(files_router(functools.partial(open_file, database)))
        async with open_channels(set_up, outside) as channels, serving(app) as port, asyncio.TaskGroup() as group:
            scene = Scene(
                url=f"http://127.0.0.1:{port}",
                outside=outside,
                channels=channels,
                model=ScriptedModel([answer]),
                address=address,
            )
            typist = Typist(channels)
            turns = _turns(database, scene, typist)
            running = [
                group.create_task(work(turns, address, limit=32, closing_s=0)),
                group.create_task(
                    deliver(
                        database, address, channels, times=QUICK, count=count_segments(channels), public_url=public_url
                    )
                ),
                group.create_task(typist.run()),
                group.create_task(keep_listening(set_up, outside, address)),
                group.create_task(keep_serving(set_up, inside)),
            ]
            try:
                yield scene
            finally:
                for task in running:
                    task.cancel()


def _turns(database: Database, scene: Scene, typist: Typist) -> Turns:
    return Turns(
        database=database,
        model=scene.model,
        toolbox=BuiltInToolbox([]),
        agent=AgentSettings(),
        instructions=lambda _: "be kind",
        sends=goes_out,
        files=scene.files,
        typist=typist,
        attachments=Attachments(database=database, channels=scene.channels, files=scene.files),
        outgoing=OutgoingFiles(
            database=database,
            files=scene.files,
            channels=scene.channels,
            has_links=scene.outside.public_url is not None,
        ),
    )
