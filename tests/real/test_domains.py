"""Hostnames of tenants' own, with a real PostgreSQL, a real name server and a real Caddy."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest
from dns.rcode import Rcode
from tests.name_server import NameServer, name_server
from tests.real.caddy_process import RunningCaddy, running_caddy
from tests.real.test_onboarding import Scene
from tests.tars import stream, tar_of

from subclaw.core.errors import Conflict, Denied, Exhausted, Invalid, NotFound, Unavailable
from subclaw.core.machine import PortTrial
from subclaw.core.tenant import TenantId
from subclaw.routes.domains import DOMAINS_LIMIT, WANTED_FOR, SiteDomains
from subclaw.routes.following import TICK_S, follow_routes
from subclaw.routes.publisher import SiteAddress, SitePublisher
from subclaw.routes.records import DnsRecords
from subclaw.routes.releases import Releases
from subclaw.store.certificates import Verdict, allow_certificate
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.domains import StoreDomains, allow, listed, refuse
from subclaw.store.sites import StoreSites, put_back, take_down
from subclaw.store.suspension import suspend

HERE = "127.0.0.1"


class NoDoors:
    async def forward(self, tenant_id: TenantId, port: int) -> str:
        raise Unavailable("There is no machine.")

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        raise Unavailable("There is no machine.")


@dataclass
class Domains:
    """Two tenants with sites, whose hostnames end in sites.example."""

    address: DatabaseAddress
    database: Database
    operator: Database
    names: NameServer
    caddy: RunningCaddy
    domains: SiteDomains
    publisher: SitePublisher
    tenants: tuple[TenantId, TenantId]

    async def token(self, tenant: TenantId, hostname: str) -> str:
        """Want a hostname; return what its record is to say."""
        said = await self.domains.act(tenant, [hostname])
        found = re.search(rf"TXT _subclaw\.{re.escape(hostname)} = ([0-9a-f]{{32}})", said)
        assert found, said
        return found[1]

    async def own(self, tenant: TenantId, hostname: str) -> str:
        """Take a hostname with all its records set."""
        self.names.tell(hostname, HERE)
        self.names.tell_texts(f"_subclaw.{hostname}", "v=spf1", await self.token(tenant, hostname))
        return await self.domains.act(tenant, [hostname])

    def change(self, statement: str) -> None:
        """Change rows as nobody else may."""
        with psycopg.connect(self.address.conninfo(Role.OWNER), autocommit=True) as connection:
            connection.execute(statement.encode())


@asynccontextmanager
async def scene(address: DatabaseAddress) -> AsyncIterator[Domains]:
    async with (
        asyncio.timeout(90),
        name_server() as names,
        running_caddy(domain="agents.example", sites_domain="sites.example") as caddy,
        open_database(address, Role.APP) as database,
        open_database(address, Role.OPERATOR, size=1) as operator,
    ):
        people = Scene(address=address, database=database)
        publisher = SitePublisher(
            releases=Releases(caddy.folder / "releases"),
            routes=caddy.routes,
            sites=StoreSites(database, operator),
            doors=NoDoors(),
            address=SiteAddress(domain="sites.example", port=caddy.settings.port),
        )
        tenants = []
        for sender, name in (("+1", "ada"), ("+2", "bob")):
            receipt = await people.say("make a page", sender)
            await people.say(f"name: {name}", sender)
            assert receipt.tenant_id
            await publisher.publish_folder(receipt.tenant_id, stream(tar_of({"index.html": name.encode()})))
            names.tell(f"{name}.sites.example", HERE)
            tenants.append(receipt.tenant_id)
        records = DnsRecords([names.address])
        domains = SiteDomains(
            store=StoreDomains(database),
            records=records,
            publisher=publisher,
            domain="agents.example",
            sites_domain="sites.example",
        )
        await publisher.restore_routes()
        yield Domains(
            address=address,
            database=database,
            operator=operator,
            names=names,
            caddy=caddy,
            domains=domains,
            publisher=publisher,
            tenants=(tenants[0], tenants[1]),
        )
        await records.close()


def test_a_domain_is_taken_by_its_records_and_leads_to_the_site_at_once(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with scene(address) as it:
            ada, _ = it.tenants
            token = await it.token(ada, "shop.example")
            first = await it.domains.act(ada, ["Shop.Example."])
            assert f"TXT _subclaw.shop.example = {token}" in first, "it is the same whenever it is asked again"
            assert "CNAME shop.example = ada.sites.example (a bare domain takes no CNAME" in first
            assert (await it.caddy.get("shop.example")).status == 404
            it.names.tell_texts("_subclaw.shop.example", token)
            assert "TXT" not in await it.domains.act(ada, ["shop.example"])
            it.names.tell("shop.example", HERE, alias="ada.sites.example")
            assert "leads to your site from now on" in await it.domains.act(ada, ["shop.example"])
            assert (await it.caddy.get("shop.example")).text == "ada"
            assert await it.domains.act(ada, []) == "shop.example: leads to your site"
            assert "does not lead" in await it.domains.act(ada, ["remove", "shop.example"])
            assert (await it.caddy.get("shop.example")).status == 404
            assert (await it.caddy.get("ada.sites.example")).text == "ada"
            with pytest.raises(NotFound):
                await it.domains.act(ada, ["remove", "shop.example"])

    asyncio.run(scenario())


def test_a_domain_is_one_tenant_s_and_never_ours(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with scene(address) as it:
            ada, bob = it.tenants
            bobs = await it.token(bob, "shop.example")
            await it.own(ada, "shop.example")
            with pytest.raises(Conflict, match="another site"):
                await it.domains.act(bob, ["shop.example"])
            assert bobs not in await it.domains.act(ada, ["shop.example"])
            assert not await StoreDomains(it.database).hold(bob, "shop.example"), "nor by a race"
            assert (await it.caddy.get("shop.example")).text == "ada"
            for ours in ("agents.example", "x.sites.example", "sites.example", "console.agents.example"):
                with pytest.raises(Invalid, match="belongs to this server"):
                    await it.domains.act(ada, [ours])
            for wrong in ("shop", "127.0.0.1", "a_b.example", "*.shop.example", "shop.example:80"):
                with pytest.raises(Invalid):
                    await it.domains.act(ada, [wrong])
            assert "xn--bcher-kva.example" in await it.domains.act(ada, ["b\u00fccher.example"])
            for n in range(DOMAINS_LIMIT - 2):
                await it.token(ada, f"d{n}.example")
            with pytest.raises(Exhausted):
                await it.domains.act(ada, ["more.example"])

    asyncio.run(scenario())


def test_a_domain_whose_records_are_gone_for_days_is_lost_and_its_person_told(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with scene(address) as it:
            ada, _ = it.tenants
            for hostname in ("shop.example", "lost.example", "unsure.example"):
                await it.own(ada, hostname)
            await it.domains.check_due(read_in_place=())
            it.names.tell_texts("_subclaw.lost.example", "something else")
            it.names.fail("_subclaw.unsure.example", Rcode.SERVFAIL)
            for status in (200, 404):
                it.change("UPDATE site_domain SET checked_at = now() - interval '2 days'")
                it.change("UPDATE site_domain SET missing_since = missing_since - interval '4 days'")
                await it.domains.check_due(read_in_place=())
                assert (await it.caddy.get("lost.example")).status == status
            for hostname in ("shop.example", "unsure.example"):
                assert (await it.caddy.get(hostname)).text == "ada"
            assert "does not lead to your site any more" in await told(it, ada)

    asyncio.run(scenario())


async def told(it: Domains, tenant: TenantId) -> str:
    """Return what a tenant was told of a domain."""
    async with await psycopg.AsyncConnection.connect(it.address.conninfo(Role.OWNER)) as connection:
        found = await (
            await connection.execute(
                "SELECT text FROM outbox WHERE tenant_id = %s AND text LIKE 'lost.example%%'", [tenant]
            )
        ).fetchall()
    return "".join(text for (text,) in found)


def test_what_the_operator_takes_away_stays_away(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with scene(address) as it:
            ada, _ = it.tenants
            await it.own(ada, "shop.example")
            (domain,) = await listed(it.operator, limit=10)
            assert (domain.hostname, domain.tenant_name) == ("shop.example", "ada")
            assert domain.verified_at
            await it.own(ada, "www.shop.example")
            await it.token(ada, "myshop.example")
            assert await refuse(it.operator, "shop.example") == 2
            await it.publisher.follow_rows()
            for hostname in ("shop.example", "www.shop.example"):
                assert (await it.caddy.get(hostname)).status == 404
                for tenant in it.tenants:
                    with pytest.raises(Denied, match="does not serve"):
                        await it.domains.act(tenant, [hostname])
            assert [(one.hostname, one.is_refused) for one in await listed(it.operator, limit=10)] == [
                ("myshop.example", False), ("shop.example", True),
            ]  # fmt: skip
            store = StoreDomains(it.database)
            await store.want(ada, "shop.example", "0" * 32, limit=DOMAINS_LIMIT, within=WANTED_FOR)
            assert not await store.hold(ada, "shop.example"), "nor by a race"
            assert await refuse(it.operator, "shop.example") == 1
            assert await allow(it.operator, "shop.example")
            assert not await allow(it.operator, "shop.example")
            assert "leads to your site from now on" in await it.own(ada, "shop.example")

    asyncio.run(scenario())


def test_who_is_suspended_takes_no_domain_and_shows_nothing_on_theirs(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with scene(address) as it:
            ada, _ = it.tenants
            await it.own(ada, "shop.example")
            await suspend(it.operator, "ada", "")
            await it.publisher.follow_rows()
            await it.caddy.shows("shop.example", status=503)
            with pytest.raises(Denied):
                await it.domains.act(ada, ["more.example"])
            assert len(await listed(it.operator, limit=10)) == 1

    asyncio.run(scenario())


def test_the_router_follows_the_rows_by_notifications(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with scene(address) as it, asyncio.TaskGroup() as group:
            await it.own(it.tenants[0], "shop.example")
            follower = group.create_task(follow_routes(it.publisher, it.address))
            started_s = time.monotonic()
            await suspend(it.operator, "bob", "")
            await it.caddy.shows("bob.sites.example", status=503)
            await refuse(it.operator, "shop.example")
            await it.caddy.shows("shop.example", status=404)
            await take_down(it.operator, "ada")
            await it.caddy.shows("ada.sites.example", status=503)
            await put_back(it.operator, "ada")
            await it.caddy.shows("ada.sites.example", "ada")
            assert time.monotonic() - started_s < TICK_S, "no tick was waited for"
            follower.cancel()

    asyncio.run(scenario())


def test_certificates_are_for_whom_the_database_knows_and_bounded(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with scene(address) as it:

            async def ask(hostname: str, name: str = "", *, known: bool = False) -> Verdict:
                return await allow_certificate(
                    it.database, hostname, name=name, is_known=known, an_hour=2, new_an_hour=3
                )

            assert await ask("nobody.sites.example", "nobody") is Verdict.UNKNOWN
            assert [await ask("ada.sites.example", "ada") for _ in range(3)] == [
                Verdict.ALLOWED, Verdict.ALLOWED, Verdict.TOO_OFTEN,
            ]  # fmt: skip
            assert await ask("shop.example") is Verdict.UNKNOWN
            await it.own(it.tenants[0], "shop.example")
            assert await ask("shop.example") is Verdict.ALLOWED
            assert await ask("preview.sites.example", "preview", known=True) is Verdict.ALLOWED
            assert await ask("bob.sites.example", "bob") is Verdict.TOO_MANY
            assert await ask("shop.example") is Verdict.ALLOWED, "it had one before"

    asyncio.run(scenario())
