"""Routes changed in a real Caddy while it serves: order, concurrency, streams, web sockets, restarts."""

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import h11
import psutil
import pytest
from tests.real.caddy_process import Answer, RunningCaddy, running_caddy
from tests.real.upstream import upstream
from tests.tars import stream, tar_of
from websockets.asyncio.client import connect

from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.machine import PortTrial
from subclaw.core.route import Route
from subclaw.core.site import DynamicSite, Site, SiteChanges, SiteContent, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.routes.config import UNPUBLISHED_PATH
from subclaw.routes.following import keep_routes
from subclaw.routes.preview import PREVIEW_S
from subclaw.routes.publisher import SiteAddress, SitePublisher
from subclaw.routes.releases import Releases
from subclaw.routes.sites import PRIVATE_PATH

ANN, BOB = TenantId(1), TenantId(2)


@pytest.fixture(autouse=True)
def _no_caddy_is_left() -> Iterator[None]:
    before = caddies()
    yield
    assert caddies() <= before


def caddies() -> set[int]:
    """Return the process ids of the Caddys below this process: those of boxes that other tests share live on."""
    return {child.pid for child in psutil.Process().children(recursive=True) if child.name() == "caddy"}


def folder_with(caddy: RunningCaddy, text: str) -> Path:
    folder = caddy.folder / "files" / text
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(text)
    return folder


def test_what_is_ours_below_every_hostname_goes_to_the_control_plane() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, upstream(caddy.settings.control_socket, "control"):
            folder = folder_with(caddy, "one")
            (folder / "_" / "oauth").mkdir(parents=True)
            (folder / "_" / "oauth" / "callback").write_text("the site's own")
            await caddy.routes.put(Route(hostname="ann.localhost", folder=folder))
            await caddy.routes.put(Route(hostname="bob.localhost", door=f"unix/{caddy.settings.doors}/asleep.sock"))
            await caddy.shows("ann.localhost", "one")
            for name in ("ann", "bob", "nobody", "a.deeper"):
                answer = await caddy.get(f"{name}.localhost", "/_/oauth/callback?code=a&state=b")
                said = json.loads(answer.body)
                assert (said["name"], said["path"]) == ("control", "/_/oauth/callback")
                assert said["host"].startswith(f"{name}.localhost")
            for target in ("/_", "/_other", "/x/_/oauth/callback", "/_/oauth/../../chat"):
                asked = json.loads((await caddy.get("nobody.localhost", target)).body)
                assert asked["path"] == UNPUBLISHED_PATH, "nothing else of ours is reached there"
            assert (await caddy.get("nobody.localhost", "/_other", method="POST")).status == 404

    asyncio.run(scenario())


def test_routes_are_added_replaced_and_removed() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            one, two = folder_with(caddy, "one"), folder_with(caddy, "two")
            for name in ("ann", "bob"):
                await caddy.routes.put(Route(hostname=f"{name}.localhost", folder=one))
            for _ in range(2):
                await caddy.routes.put(Route(hostname="ann.localhost", folder=two))
            assert [(await caddy.get(f"{name}.localhost")).text for name in ("ann", "bob")] == ["two", "one"]
            for _ in range(2):
                await caddy.routes.remove("ann.localhost")
            assert (await caddy.get("ann.localhost")).status == 404
            await caddy.routes.replace_all([Route(hostname="cat.example", folder=two)], "7")
            assert (await caddy.get("bob.localhost")).status == 404
            assert (await caddy.get("cat.example")).text == "two"
            assert await caddy.routes.mark() == "7"

    asyncio.run(scenario())


def test_a_paused_or_private_site_shows_nothing_of_its_folder() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, upstream(caddy.settings.control_socket, "control") as control:
            folder = folder_with(caddy, "one")
            await caddy.routes.put(Route(hostname="ann.localhost", folder=folder, is_paused=True))
            for target in ("/", "/index.html", "/missing"):
                answer = await caddy.get("ann.localhost", target)
                assert (answer.status, "This site is paused" in answer.text) == (503, True)
            await caddy.routes.put(Route(hostname="ann.localhost", folder=folder, is_private=True))
            control.refuses = True
            refused = await caddy.get("ann.localhost", "/?key=x")
            assert (refused.status, json.loads(refused.body)["path"]) == (403, PRIVATE_PATH)
            control.refuses = False
            admitted = await caddy.get("ann.localhost", "/?key=x")
            assert (admitted.status, admitted.text) == (200, "one")
            assert admitted.headers["x-content-type-options"] == "nosniff"

    asyncio.run(scenario())


def test_what_stands_before_an_open_site_does_not_touch_a_server_s_own_headers() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            door = caddy.settings.doors / "1-80.sock"
            async with upstream(door, "ann"):
                await caddy.routes.put(Route(hostname="ann.localhost", door=f"unix/{door}"))
                answer = await caddy.get("ann.localhost", "/dated", headers={"If-Modified-Since": "yesterday"})
                assert answer.headers["last-modified"] == "yesterday"
                plain = await caddy.get("ann.localhost", "/dated")
                assert plain.headers["last-modified"] == "never"
                assert not {"cache-control", "referrer-policy", "x-from-file", "server"} & set(plain.headers)

    asyncio.run(scenario())


def test_visitors_of_other_sites_notice_no_change() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, upstream(caddy.settings.control_socket, "control"):
            one, two = folder_with(caddy, "one"), folder_with(caddy, "two")
            await caddy.routes.put(Route(hostname="ann.localhost", folder=one))
            done, answers = asyncio.Event(), list[Answer]()

            async def visit(hostname: str) -> None:
                while not done.is_set():
                    answers.append(answer := await caddy.get(hostname))
                    assert answer.status == 200
                    assert answer.text == "one" or '"name":"control"' in answer.text

            async with asyncio.TaskGroup() as group:
                for hostname in ("ann.localhost", "ann.localhost", "localhost"):
                    group.create_task(visit(hostname))
                for n in range(40):
                    await caddy.routes.put(Route(hostname=f"s{n}.localhost", folder=two))
                    assert (await caddy.get(f"s{n}.localhost")).text == "two"
                    await caddy.routes.put(Route(hostname=f"s{n}.localhost", folder=one))
                    assert (await caddy.get(f"s{n}.localhost")).text == "one"
                    await caddy.routes.remove(f"s{n}.localhost")
                    assert UNPUBLISHED_PATH in (await caddy.get(f"s{n}.localhost")).text
                done.set()
            assert len(answers) > 100

    asyncio.run(scenario())


def test_a_server_behind_a_socket_gets_the_request_as_it_was() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            door = caddy.settings.doors / "1-80.sock"
            async with upstream(door, "ann"), upstream(caddy.settings.control_socket, "control"):
                await caddy.routes.put(Route(hostname="ann.localhost", door=f"unix/{door}"))
                await caddy.shows("ann.localhost", '"name":"ann"')
                spoofed = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "evil"}
                answer = await caddy.get("ann.localhost", "/a%20b?c", headers=spoofed)
                seen = json.loads(answer.body)
                assert (seen["name"], seen["path"], seen["host"]) == ("ann", "/a b", "ann.localhost")
                assert (seen["x-forwarded-for"], seen["x-forwarded-host"]) == ("127.0.0.1", "ann.localhost")
                assert "server" not in answer.headers
                assert answer.headers["x-content-type-options"] == "nosniff"
                for hostname in ("localhost", f"127.0.0.1:{caddy.settings.port}", "[::1]"):
                    assert json.loads((await caddy.get(hostname)).body)["name"] == "control"
                for hostname in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example"):
                    assert (await caddy.get(hostname)).status == 404

    asyncio.run(scenario())


def test_bodies_and_headers_are_bounded() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, upstream(caddy.settings.control_socket, "control") as control:
            fits = await caddy.get("localhost", "/post", method="POST", body=b"x" * 2**20)
            assert json.loads(fits.body) == {"size_bytes": 2**20}
            limit = caddy.settings.control_body_limit_bytes
            with contextlib.suppress(ConnectionError):
                large = await caddy.get("localhost", "/post", method="POST", body=b"x" * (limit + 1))
                assert large.status >= 400
            assert (await caddy.get("localhost", headers={"X-Long": "x" * 200_000})).status == 431
            assert control.posts <= 2

    asyncio.run(scenario())


async def open_stream(caddy: RunningCaddy, hostname: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", caddy.settings.port)
    writer.write(f"GET /events HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode())
    return reader, writer


@pytest.mark.parametrize("hostname", ["localhost", "ann.localhost"])
def test_events_stream_unbuffered_outlive_route_changes_and_end_with_the_visitor(hostname: str) -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            door = caddy.settings.control_socket if hostname == "localhost" else caddy.settings.doors / "1-80.sock"
            async with upstream(door, "up") as serving:
                if hostname != "localhost":
                    await caddy.routes.put(Route(hostname=hostname, door=f"unix/{door}"))
                    await caddy.shows(hostname, '"name":"up"')
                reader, writer = await open_stream(caddy, hostname)
                async with asyncio.timeout(10):
                    await serving.next_event.put("first")
                    assert b'"first"' in await reader.readuntil(b'"first"')
                    await caddy.routes.put(Route(hostname="bob.localhost", folder=folder_with(caddy, "x")))
                    await serving.next_event.put("second")
                    await reader.readuntil(b'"second"')
                    assert not serving.stream_left.is_set()
                    writer.close()
                    await serving.stream_left.wait()

    asyncio.run(scenario())


def test_web_sockets_pass() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            door = caddy.settings.doors / "1-80.sock"
            async with upstream(door, "ann"):
                await caddy.routes.put(Route(hostname="ann.localhost", door=f"unix/{door}"))
                await caddy.shows("ann.localhost", '"name":"ann"')
                address = f"ws://ann.localhost:{caddy.settings.port}/socket"
                async with connect(address, host="127.0.0.1", proxy=None) as visitor:
                    await visitor.send("hello")
                    assert await visitor.recv() == "ann: hello"

    asyncio.run(scenario())


def test_a_server_that_is_away_is_waited_for_and_then_excused() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            door = caddy.settings.doors / "1-80.sock"
            await caddy.routes.put(Route(hostname="ann.localhost", door=f"unix/{door}"))
            await caddy.shows("ann.localhost", "waking up", status=503)
            away = await caddy.get("ann.localhost")
            assert (away.status, away.headers["retry-after"]) == (503, "5")
            assert "waking up" in away.text
            async with asyncio.TaskGroup() as group:
                early = group.create_task(caddy.get("ann.localhost", "/post", method="POST", body=b"held"))
                async with upstream(door, "ann") as serving:
                    assert json.loads((await early).body) == {"size_bytes": 4}
                    assert serving.posts == 1

    asyncio.run(scenario())


class Rows:
    """A `SiteStore` in memory: what the publisher needs of the database, without one."""

    def __init__(self, names: dict[TenantId, str]) -> None:
        self.names = names
        self.contents: dict[TenantId, SiteContent] = {}
        self.suspended: set[TenantId] = set()
        self.private: set[TenantId] = set()
        self.answering: set[tuple[TenantId, int]] = set()

    async def name_of(self, tenant_id: TenantId) -> str:
        if tenant_id in self.suspended:
            raise Denied("It is suspended.")
        return self.names[tenant_id]

    async def publish(self, tenant_id: TenantId, content: SiteContent, *, files: int = 0, size_bytes: int = 0) -> None:
        self.contents[tenant_id] = content

    def sites(self) -> Sequence[Site]:
        return [
            Site(
                tenant_id=t,
                name=self.names[t],
                content=c,
                is_paused=t in self.suspended,
                is_private=t in self.private,
            )
            for t, c in self.contents.items()
        ]

    async def port_answers(self, tenant_id: TenantId, port: int) -> None:
        self.answering.add((tenant_id, port))

    async def changes(self, mark: str) -> SiteChanges:
        """Say that all changed, if anything did."""
        return SiteChanges(mark=str(hash(tuple(map(str, self.sites())))), sites=self.sites(), are_all=True)

    async def site_of(self, tenant_id: TenantId) -> Site | None:
        return next((site for site in self.sites() if site.tenant_id == tenant_id), None)


class OneDoor:
    """A `Doors` that knows the way to one machine."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.tried: list[tuple[int, str]] = []
        self.trial = PortTrial(is_listening=True, status=200)

    async def forward(self, tenant_id: TenantId, port: int) -> str:
        if tenant_id != BOB:
            raise NotFound("There is no machine.")
        return f"unix/{self.socket}"

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        self.tried.append((port, hostname))
        return self.trial


@contextlib.asynccontextmanager
async def publishing(
    caddy: RunningCaddy, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[SitePublisher, Rows]]:
    rows = Rows({ANN: "ann", BOB: "bob"})
    publisher = SitePublisher(
        releases=Releases(caddy.folder / "releases"),
        routes=caddy.routes,
        sites=rows,
        doors=OneDoor(caddy.settings.doors / "2-8000.sock"),
        address=SiteAddress(domain="localhost", port=caddy.settings.port),
        clock=clock,
    )
    async with upstream(caddy.settings.doors / "2-8000.sock", "bob"):
        yield publisher, rows


def test_publishing_stores_and_shows() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, publishing(caddy) as (publisher, rows):
            published = await publisher.publish_folder(ANN, stream(tar_of({"index.html": b"hi", "a": b"1"})))
            assert published.url == f"http://ann.localhost:{caddy.settings.port}/"
            assert (published.files, published.size_bytes) == (2, 3)
            assert rows.contents[ANN] == published.content
            await caddy.shows("ann.localhost", "hi")
            dynamic = await publisher.publish_port(BOB, 8000)
            assert (dynamic.content, rows.contents[BOB]) == (DynamicSite(port=8000),) * 2
            await caddy.shows("bob.localhost", '"name":"bob"')
            # And back: the same hostname from a port to a folder.
            await publisher.publish_folder(BOB, stream(tar_of({"index.html": b"static now"})))
            await caddy.shows("bob.localhost", "static now")
            with pytest.raises(NotFound):
                await publisher.publish_port(ANN, 8000)
            assert isinstance(rows.contents[ANN], StaticSite)

    asyncio.run(scenario())


def test_a_port_is_tried_on_the_preview_and_shown_only_if_it_answers() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, publishing(caddy) as (publisher, rows):
            await publisher.publish_folder(BOB, stream(tar_of({"index.html": b"static"})))
            preview = "preview--bob.localhost"
            door = publisher._doors
            assert isinstance(door, OneDoor)
            for trial, words in (
                (PortTrial(is_listening=False), "Nothing listens on port 8000"),
                (PortTrial(is_listening=True), "did not answer"),
                (PortTrial(is_listening=True, status=500), "answered with status 500"),
            ):
                door.trial = trial
                with pytest.raises(Invalid, match=words):
                    await publisher.publish_port(BOB, 8000)
                assert isinstance(rows.contents[BOB], StaticSite)
                await caddy.shows(preview, '"name":"bob"')
                await caddy.shows("bob.localhost", "static")
            assert door.tried == [(8000, preview)] * 3
            rows.suspended = {BOB}
            await publisher.show(BOB)
            await caddy.shows(preview, "Nothing here yet", status=404)
            rows.suspended = set()
            door.trial = PortTrial(is_listening=True, status=404)
            await publisher.publish_port(BOB, 8000)
            assert rows.answering == {(BOB, 8000)}
            await caddy.shows("bob.localhost", '"name":"bob"')
            await caddy.shows(preview, "Nothing here yet", status=404)

    asyncio.run(scenario())


def test_a_preview_lasts_an_hour_and_is_as_private_as_its_site() -> None:
    async def scenario() -> None:
        now_s = 0.0
        async with running_caddy() as caddy, publishing(caddy, lambda: now_s) as (publisher, rows):
            preview, door = "preview--bob.localhost", publisher._doors
            await publisher.publish_folder(BOB, stream(tar_of({"index.html": b"static"})))
            assert isinstance(door, OneDoor)
            door.trial = PortTrial(is_listening=False)
            with pytest.raises(Invalid):
                await publisher.publish_port(BOB, 8000)
            now_s = PREVIEW_S - 1
            for _ in range(2):
                await publisher.end_previews()
                await caddy.shows(preview, '"name":"bob"')
                await publisher.restore_routes()
            async with upstream(caddy.settings.control_socket, "control") as control:
                control.refuses = True
                rows.private = {BOB}
                await publisher.show(BOB)
                await caddy.shows(preview, PRIVATE_PATH, status=403)
                rows.private = set()
                await publisher.show(BOB)
                await caddy.shows(preview, '"name":"bob"')
            now_s = PREVIEW_S
            await publisher.end_previews()
            await caddy.shows(preview, "Nothing here yet", status=404)
            await publisher.restore_routes()
            await caddy.shows(preview, "Nothing here yet", status=404)
            await caddy.shows("bob.localhost", "static")

    asyncio.run(scenario())


def test_a_site_that_is_taken_down_while_its_port_is_tried_has_no_preview() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, publishing(caddy) as (publisher, rows):
            await publisher.publish_folder(BOB, stream(tar_of({"index.html": b"static"})))
            door = publisher._doors
            assert isinstance(door, OneDoor)

            async def forward(tenant_id: TenantId, port: int) -> str:
                rows.suspended = {BOB}
                await publisher.show(BOB)
                return await OneDoor.forward(door, tenant_id, port)

            door.forward = forward  # type: ignore[method-assign]
            with pytest.raises(Denied):
                await publisher.publish_port(BOB, 8000)
            assert door.tried == []
            await caddy.shows("preview--bob.localhost", "Nothing here yet", status=404)

    asyncio.run(scenario())


def test_caddy_killed_and_started_anew_has_its_routes() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, publishing(caddy) as (publisher, _):
            await publisher.publish_folder(ANN, stream(tar_of({"index.html": b"hi"})))
            await publisher.publish_port(BOB, 8000)
            await caddy.kill()
            await publisher.publish_folder(ANN, stream(tar_of({"index.html": b"meanwhile"})))
            await caddy.start()
            assert (await caddy.get("ann.localhost")).text == "meanwhile"
            assert '"name":"bob"' in (await caddy.get("bob.localhost")).text

    asyncio.run(scenario())


def test_caddy_killed_under_load_is_back_in_seconds_and_nobody_gets_another_s_site() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            names = ("ann", "bob", "carol")
            for name in names:
                await caddy.routes.put(Route(hostname=f"{name}.localhost", folder=folder_with(caddy, name)))
            done, served = asyncio.Event(), dict.fromkeys(names, 0)

            async def visit(name: str) -> None:
                while not done.is_set():
                    try:
                        answer = await caddy.get(f"{name}.localhost")
                    except (ConnectionError, h11.RemoteProtocolError):
                        await asyncio.sleep(0.01)
                        continue
                    assert (answer.status, answer.text) == (200, name)
                    served[name] += 1

            async def until_served(more: int) -> None:
                wanted = {name: count + more for name, count in served.items()}
                while any(served[name] < wanted[name] for name in names):
                    await asyncio.sleep(0.01)

            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                visitors = [group.create_task(visit(name)) for name in names * 3]
                for _ in range(3):
                    await until_served(20)
                    await caddy.kill()
                    async with asyncio.timeout(5):
                        await caddy.start()
                        await until_served(1)
                done.set()
                await asyncio.gather(*visitors)

    asyncio.run(scenario())


def test_routes_are_made_anew_from_the_rows_at_the_start_and_whenever_they_differ() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy, publishing(caddy) as (publisher, rows), asyncio.TaskGroup() as group:
            await publisher.publish_folder(ANN, stream(tar_of({"index.html": b"hi"})))
            await publisher.publish_port(BOB, 8000)
            # A site whose release is lost holds up no other.
            rows.names[TenantId(3)] = "carol"
            rows.contents[TenantId(3)] = StaticSite(release="0" * 64)
            await caddy.routes.replace_all([Route(hostname="stale.localhost", folder=folder_with(caddy, "x"))])
            keeper = group.create_task(keep_routes(publisher, asyncio.Event(), tick_s=0.02))
            await caddy.shows("ann.localhost", "hi")
            await caddy.shows("bob.localhost", '"name":"bob"')
            await caddy.shows("stale.localhost", "Nothing here yet", status=404)
            await caddy.shows("carol.localhost", "Nothing here yet", status=404)
            shutil.rmtree(caddy.settings.sites / ".kept")
            (caddy.settings.sites / ".mark").unlink()
            await caddy.shows("ann.localhost", "hi")
            for suspended in ({ANN}, {ANN, BOB}, set[TenantId]()):
                rows.suspended = suspended
                for tenant, hostname, words in ((ANN, "ann.localhost", "hi"), (BOB, "bob.localhost", '"name":"bob"')):
                    if tenant in suspended:
                        await caddy.shows(hostname, "This site is paused", status=503)
                    else:
                        await caddy.shows(hostname, words)
            keeper.cancel()

    asyncio.run(scenario())
