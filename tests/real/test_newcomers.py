"""What is made ready beside onboarding, against a real PostgreSQL and a real Caddy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import psycopg
from fastapi import FastAPI
from tests.real.caddy_process import RunningCaddy, running_caddy
from tests.real.test_onboarding import Scene
from tests.real.upstream import served
from tests.tars import stream, tar_of

from subclaw.core.errors import Unavailable
from subclaw.core.machine import PortTrial
from subclaw.core.tenant import TenantId
from subclaw.routes.newcomers import keep_newcomers
from subclaw.routes.publisher import SiteAddress, SitePublisher
from subclaw.routes.releases import Releases
from subclaw.routes.unpublished import unpublished_router
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.onboarding import named_tenant
from subclaw.store.sites import StoreSites

DEADLINE_S = 60


@dataclass
class Wakeful:
    """Machines that note who woke them, and cannot be started if they `are_broken`."""

    woken: asyncio.Queue[TenantId] = field(default_factory=asyncio.Queue)
    are_broken: bool = False

    async def wake(self, tenant_id: TenantId) -> None:
        self.woken.put_nowait(tenant_id)
        if self.are_broken:
            raise Unavailable("There is no room.")

    async def forward(self, tenant_id: TenantId, port: int) -> str:
        raise Unavailable("There is no machine.")

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        raise Unavailable("There is no machine.")


@asynccontextmanager
async def keeping(
    address: DatabaseAddress, scene: Scene, caddy: RunningCaddy, machines: Wakeful
) -> AsyncIterator[SitePublisher]:
    """Run what follows newcomers, with a publisher and the pages of sites that are to come."""
    sites = SiteAddress(domain="localhost", port=caddy.settings.port)
    app = FastAPI()
    app.include_router(unpublished_router(partial(named_tenant, scene.database), sites))
    async with open_database(address, Role.OPERATOR, size=1) as operator, served(caddy.settings.control_socket, app):
        publisher = SitePublisher(
            releases=Releases(caddy.folder / "releases"),
            routes=caddy.routes,
            sites=StoreSites(scene.database, operator),
            doors=machines,
            address=sites,
        )
        keeper = asyncio.create_task(
            keep_newcomers(scene.database, address, machines=machines, move=publisher.move, tick_s=0.5)
        )
        try:
            yield publisher
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])


def test_a_site_is_live_from_the_first_message_and_follows_its_name(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        machines = Wakeful()
        async with (
            asyncio.timeout(DEADLINE_S),
            open_database(address, Role.APP) as database,
            running_caddy() as caddy,
        ):
            scene = Scene(address=address, database=database)
            async with keeping(address, scene, caddy, machines) as publisher:
                receipt = await scene.say("make a page about tea")
                first = scene.name_of()
                await caddy.shows(f"{first}.localhost", "site will be here")
                assert await machines.woken.get() == receipt.tenant_id
                await publisher.publish_folder(receipt.tenant_id, stream(tar_of({"index.html": b"tea"})))
                await caddy.shows(f"{first}.localhost", "tea")
                await scene.say("name: ada")
                await caddy.shows("ada.localhost", "tea")
                await caddy.shows(f"{first}.localhost", status=302)
                await scene.say(f"name: {first}")
                await caddy.shows(f"{first}.localhost", "tea")
                await caddy.shows("ada.localhost", status=302)

    asyncio.run(scenario())


def test_a_rename_while_the_router_is_away_is_made_up_for_and_machines_that_fail_hold_up_nothing(
    address: DatabaseAddress,
) -> None:
    async def scenario() -> None:
        machines = Wakeful(are_broken=True)
        async with (
            asyncio.timeout(DEADLINE_S),
            open_database(address, Role.APP) as database,
            running_caddy() as caddy,
        ):
            scene = Scene(address=address, database=database)
            async with keeping(address, scene, caddy, machines) as publisher:
                receipt = await scene.say("make a page about tea")
                await machines.woken.get()
                await publisher.publish_folder(receipt.tenant_id, stream(tar_of({"index.html": b"tea"})))
                await caddy.kill()
                await scene.say("name: ada")
                await scene.say("make another", "+2")
                await machines.woken.get()
                await caddy.start()
                await publisher.restore_routes()
                await caddy.shows("ada.localhost", "tea")
                await until_moved(address)
                await scene.say("make a third", "+3")
                await machines.woken.get()

    asyncio.run(scenario())


async def until_moved(address: DatabaseAddress) -> None:
    """Wait until the router knows of every name."""
    async with await psycopg.AsyncConnection.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
        while await (await connection.execute("SELECT name FROM former_name WHERE moved_at IS NULL")).fetchall():
            await asyncio.sleep(0.02)
