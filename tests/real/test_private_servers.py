"""A private site that is a server in a machine: nobody reaches the machine before they are let in."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from tests.budgets import owner_rows
from tests.real.caddy_process import RunningCaddy, running_caddy
from tests.real.identity_scene import WEB, say
from tests.real.upstream import Upstream, served, upstream
from tests.real.visit_scene import VISIT_S
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from subclaw.api.app import make_app
from subclaw.app.web import tenants_at
from subclaw.core.route import Route
from subclaw.core.tenant import TenantId
from subclaw.routes.publisher import SiteAddress
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.visitors.actions import visitor_actions
from subclaw.visitors.router import visitors_routers
from subclaw.visitors.visitor import Visiting

HOSTNAMES = ("ann.localhost", "preview--ann.localhost")
WRONG_KEY = {"Cookie": "site-key=" + "a" * 43}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Ann's private site, whose machine sleeps: it would wake by the first connection to its door."""

    caddy: RunningCaddy
    machine: Upstream
    link: str

    async def key(self, hostname: str) -> dict[str, str]:
        """Come in by the owner's link; return the headers of who did."""
        form = await self.caddy.get(hostname, self.link)
        token = re.search(r'value="([\w-]+)"', form.text)
        assert token
        fields = f"link={token[1]}".encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        entered = await self.caddy.get(hostname, "/_/enter", method="POST", headers=kind, body=fields)
        assert entered.status == 303
        return {"Cookie": entered.headers["set-cookie"].partition(";")[0]}


@asynccontextmanager
async def scene(address: DatabaseAddress) -> AsyncIterator[Scene]:
    async with asyncio.timeout(VISIT_S), open_database(address, Role.APP) as database, running_caddy() as caddy:
        await say(database, WEB, "hello")
        ((tenant_id,),) = owner_rows(address, "UPDATE tenant SET name = 'ann' RETURNING id")
        link = await made_private(database, TenantId(int(str(tenant_id))))
        at = tenants_at(SiteAddress(domain="localhost", port=caddy.settings.port), database)
        visiting = Visiting(database=database, tenant_at=at, title="subclaw")

        async def check() -> None:
            return None

        app = make_app(visitors_routers(visiting, is_secure=False, read_in_place=["web"]), check=check)
        door = caddy.settings.doors / "1-80.sock"
        async with served(caddy.settings.control_socket, app), upstream(door, "machine") as machine:
            for hostname in HOSTNAMES:
                await caddy.routes.put(Route(hostname=hostname, door=f"unix/{door}", is_private=True))
            yield Scene(caddy=caddy, machine=machine, link=link)


async def made_private(database: Database, tenant_id: TenantId) -> str:
    """Make a tenant's site private; return the path of its link."""

    async def site_url(_: TenantId) -> str:
        return "http://ann.localhost/"

    (action,) = [one for one in visitor_actions(database, site_url, "http://localhost") if one.name == "private"]
    found = re.search(r"(/_/enter/\S+) comes in", await action.perform(tenant_id, ["on"]))
    assert found
    return found[1]


@pytest.mark.parametrize("hostname", HOSTNAMES)
def test_whoever_is_not_let_in_is_asked_to_sign_in_and_wakes_nothing(address: DatabaseAddress, hostname: str) -> None:
    async def scenario() -> None:
        async with scene(address) as it:
            for headers in ({}, WRONG_KEY):
                for method, target in (("GET", "/"), ("HEAD", "/a.png"), ("POST", "/post"), ("DELETE", "/x")):
                    body = b"x" * 1_000 if method == "POST" else b""
                    answer = await it.caddy.get(hostname, target, method=method, headers=headers, body=body)
                    assert (answer.status, answer.headers["location"]) == (303, "/_/enter")
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(socket_url(it, hostname), host="127.0.0.1", proxy=None):
                        pass
                assert refused.value.response.status_code == 403, "it was led to the sign-in page, which speaks no such"
            assert "This site is private" in (await it.caddy.get(hostname, "/_/enter")).text
            assert it.machine.requests == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("hostname", HOSTNAMES)
def test_whoever_is_let_in_reaches_all_of_the_server(address: DatabaseAddress, hostname: str) -> None:
    async def scenario() -> None:
        async with scene(address) as it:
            key = await it.key(hostname)
            assert it.machine.requests == 0, "nor by coming in"
            assert '"name":"machine"' in (await it.caddy.get(hostname, "/a?b", headers=key)).text
            sent = await it.caddy.get(hostname, "/post", method="POST", headers=key, body=b"x" * 100_000)
            assert (sent.status, sent.text) == (200, '{"size_bytes":100000}')
            async with connect(
                socket_url(it, hostname), host="127.0.0.1", proxy=None, additional_headers=key
            ) as visitor:
                await visitor.send("hello")
                assert await visitor.recv() == "machine: hello"

    asyncio.run(scenario())


def socket_url(it: Scene, hostname: str) -> str:
    """Return where the server's web socket is."""
    return f"ws://{hostname}:{it.caddy.settings.port}/socket"
