"""Visits through a real Caddy of a server in a real machine: held while it wakes, ended when its time is used up."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from tests.real.machines import Host
from tests.real.visit_scene import HOSTNAME, PORT, Scene, site, visited_host
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from subclaw.core.machine import PortTrial
from subclaw.core.site import DynamicSite, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.core.waking import RESTING_HEADER
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.sites import StoreSites
from subclaw.testing.postgres import fresh_database

ROBOT = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
SHORT_S = 25
"""For how long visits may keep the machine of tenant 2 awake: long enough to start it."""


@pytest.fixture(scope="module")
def address(cluster: DatabaseAddress) -> Iterator[DatabaseAddress]:
    with fresh_database(cluster) as address:
        yield address


@pytest.fixture(scope="module")
def host(address: DatabaseAddress) -> Iterator[Host]:
    with visited_host(address) as host:
        yield host


@pytest.fixture
def released() -> Iterator[Path]:
    """A static release that Caddy may read."""
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "index.html").write_text("static instead")
        yield folder


async def generation(scene: Scene) -> int:
    (status,) = [one for one in await scene.client.statuses() if one.tenant_id == scene.tenant_id]
    return status.generation


async def lost(scene: Scene) -> None:
    """Lose the machine as if the host's power had failed."""
    (status,) = [one for one in await scene.client.statuses() if one.tenant_id == scene.tenant_id]
    psutil.Process(status.process_id).kill()
    async with asyncio.timeout(20):
        while await scene.is_awake():
            await asyncio.sleep(0.02)


def test_a_thousand_visitors_wake_one_machine_and_all_are_answered(host: Host) -> None:
    async def scenario() -> None:
        async with site(host) as scene:
            before = await generation(scene)
            await scene.sleep()
            visits = [scene.visit(source=f"127.0.1.{number % 50 + 1}") for number in range(1_000)]
            answers = await asyncio.gather(*visits)
            assert {answer.status for answer in answers} == {200}
            assert await generation(scene) == before + 1
            assert len({answer.text for answer in answers}) == 1, "the same process answered, which slept with it"

    asyncio.run(scenario())


def test_a_post_is_held_while_a_machine_boots_and_its_service_starts(host: Host) -> None:
    async def scenario() -> None:
        async with site(host) as scene:
            await lost(scene)
            body = bytes(range(256)) * 12_000
            answer = await scene.visit("/", method="POST", body=body)
            assert (answer.status, answer.text) == (200, f"{len(body)} bytes, 1 posts")

    asyncio.run(scenario())


def test_a_service_that_ends_is_started_again_and_visitors_wait_for_it(host: Host) -> None:
    async def scenario() -> None:
        async with site(host) as scene:
            first = await scene.visit()
            ended = await scene.visit("/end")
            assert ended.status == 503
            assert "tries again by itself" in ended.text
            second = await scene.visit()
            assert second.status == 200
            assert first.text != second.text
            assert "[it ended with exit status 7" in await scene.run("cat /var/log/services/web.log")
            await scene.declare()
            while await scene.run("pgrep -f [s]ite.py"):
                await asyncio.sleep(0.05)
            began_s = time.monotonic()
            gone = await scene.visit()
            assert (gone.status, gone.headers["retry-after"]) == (503, "5")
            assert "This site is waking up" in gone.text
            assert time.monotonic() - began_s < 30

    asyncio.run(scenario())


def test_a_broken_service_is_told_of(host: Host) -> None:
    async def scenario() -> None:
        async with site(host, serves=False) as scene:
            await scene.declare({"name": "bad", "command": "echo no; exit 3"})
            async with asyncio.timeout(60):
                while "bad: ended 3 times" not in await scene.run("cat /etc/subclaw/services-broken.txt"):
                    await asyncio.sleep(0.1)
            await scene.declare()
            async with asyncio.timeout(20):
                while await scene.run("ls /etc/subclaw/services-broken.txt 2>/dev/null"):
                    await asyncio.sleep(0.1)

    asyncio.run(scenario())


def test_robots_wake_nobody_and_get_the_static_release(host: Host, released: Path) -> None:
    async def scenario() -> None:
        async with site(host, folder=released) as scene:
            assert (await scene.visit(headers=ROBOT)).text.startswith("hello"), "it is awake"
            await scene.sleep()
            instead = await scene.visit(headers=ROBOT)
            assert (instead.status, instead.text) == (200, "static instead")
            missing = await scene.visit("/more", headers=ROBOT)
            assert (missing.status, missing.headers["retry-after"]) == (503, "600")
            assert "This site is resting" in missing.text
            assert RESTING_HEADER.lower() not in missing.headers
            assert not await scene.is_awake()
            assert (await scene.visit()).text.startswith("hello")

    asyncio.run(scenario())


def test_streams_keep_the_machine_awake_and_are_ended_when_its_time_is_used_up(
    host: Host, address: DatabaseAddress, released: Path
) -> None:
    async def scenario() -> None:
        async with site(host, 2, folder=released) as scene:
            await scene.sleep()
            with psycopg.connect(address.url, autocommit=True) as connection:
                connection.execute(
                    "INSERT INTO plan (name, idle_timeout_s, awake_s_per_day, disk_mb, sleeps_with_memory)"
                    " SELECT 'short', 1, ceil(awake_s) + %s, 8192, true FROM machine_use WHERE tenant_id = 2",
                    [SHORT_S],
                )
                connection.execute("UPDATE tenant SET plan = 'short' WHERE id = 2")
            began_s = time.monotonic()
            ended, events = await asyncio.gather(listened(scene), scene.visit("/events"))
            assert ended == 1001
            assert events.status == 200
            assert events.text.count("data: tick") > 20, "it ended after a whole event, as streams do that are whole"
            assert 10 < time.monotonic() - began_s < SHORT_S + 20
            spent = await scene.visit()
            assert spent.text == "static instead"
            async with asyncio.timeout(20):
                while await scene.is_awake():
                    await asyncio.sleep(0.05)
            assert (await scene.visit()).text == "static instead"
            assert not await scene.is_awake()

    asyncio.run(scenario())


async def listened(scene: Scene) -> int | None:
    """Listen to the WebSocket until it is closed; return with which code."""
    uri = f"ws://{HOSTNAME}:{scene.caddy.settings.port}/ws"
    async with connect(uri, host="127.0.0.1", proxy=None, open_timeout=60) as socket:
        try:
            while True:
                assert await socket.recv() == "tick"
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None


def test_a_port_is_tried(host: Host) -> None:
    async def scenario() -> None:
        async with site(host) as scene:
            assert await scene.client.try_port(scene.tenant_id, PORT, HOSTNAME) == PortTrial(
                is_listening=True, status=200
            )
            assert await scene.client.try_port(scene.tenant_id, 8099, HOSTNAME) == PortTrial(is_listening=False)

    asyncio.run(scenario())


def test_a_site_that_stops_answering_becomes_what_it_was_before(host: Host, address: DatabaseAddress) -> None:
    async def scenario() -> None:
        static = StaticSite(release="1" * 64)
        async with (
            site(host, 3) as scene,
            open_database(address, Role.APP, size=1) as database,
            open_database(address, Role.OPERATOR, size=1) as operator,
        ):
            sites = StoreSites(database, operator)
            for content in (static, DynamicSite(port=PORT)):
                await sites.publish(TenantId(3), content)
            await scene.declare()
            while await scene.run("pgrep -f [s]ite.py"):
                await asyncio.sleep(0.05)
            async with asyncio.timeout(90):
                while (now := await sites.site_of(TenantId(3))) is None or now.content != static:
                    assert (await scene.visit()).status == 503

    asyncio.run(scenario())


def test_a_site_that_has_nothing_but_errors_since_it_was_published_becomes_what_it_was(
    host: Host, address: DatabaseAddress
) -> None:
    async def scenario() -> None:
        static = StaticSite(release="1" * 64)
        async with (
            site(host, 4) as scene,
            open_database(address, Role.APP, size=1) as database,
            open_database(address, Role.OPERATOR, size=1) as operator,
        ):
            sites = StoreSites(database, operator)
            for content in (static, DynamicSite(port=PORT)):
                await sites.publish(TenantId(4), content)
            await scene.client.try_port(scene.tenant_id, PORT, HOSTNAME)
            async with asyncio.timeout(60):
                while (now := await sites.site_of(TenantId(4))) is None or now.content != static:
                    assert (await scene.visit("/error")).text == "broken"
                    await asyncio.sleep(0.2)

    asyncio.run(scenario())
