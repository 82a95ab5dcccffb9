"""Static sites served by a real Caddy: types, tags, ranges, pages that are missing, and ways out that are not there."""

import asyncio
import contextlib
import gzip

import h11
import pytest
from tests.real.caddy_process import RunningCaddy, log_lines, running_caddy
from tests.tars import stream, tar_of

from subclaw.core.errors import Unavailable
from subclaw.core.route import Route
from subclaw.core.tenant import TenantId
from subclaw.routes.process import check_port
from subclaw.routes.releases import Releases

TREE = {
    "index.html": b"<!doctype html><title>home</title>" + b"x" * 3000,
    "about.html": b"about",
    "docs/index.html": b"docs",
    "docs/style.css": b"body{}",
    "both.html": b"both as a page",
    "both/index.html": b"both as a folder",
    "app.js": b"1",
    "data.json": b"{}",
    "pic.svg": b"<svg/>",
    "a b?[1]{env.HOME}.txt": b"odd",
    "odd*{env.HOME}.html": b"odd page",
    "plain": b"no extension",
    ".well-known/security.txt": b"contact",
}


async def publish(caddy: RunningCaddy, name: str, tree: dict[str, bytes], tenant: int = 1) -> None:
    releases = Releases(caddy.folder / "releases")
    kept = await releases.keep(TenantId(tenant), stream(tar_of(tree)))
    folder = await releases.switch(TenantId(tenant), kept.release)
    await caddy.routes.put(Route(hostname=f"{name}.localhost", folder=folder))
    await caddy.shows(f"{name}.localhost")


def test_a_release_is_served_with_types_tags_and_ranges() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", TREE)
            home = await caddy.get("ann.localhost")
            assert (home.status, home.body) == (200, TREE["index.html"])
            assert home.headers["content-type"] == "text/html; charset=utf-8"
            assert home.headers["x-content-type-options"] == "nosniff"
            assert home.headers["referrer-policy"] == "strict-origin-when-cross-origin"
            assert home.headers["cache-control"] == "no-cache"
            assert not {"server", "last-modified"} & set(home.headers)

            tag = home.headers["etag"]
            same = await caddy.get("ann.localhost", headers={"If-None-Match": tag})
            assert (same.status, same.body) == (304, b"")
            dated = await caddy.get("ann.localhost", headers={"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
            assert dated.status == 200

            part = await caddy.get("ann.localhost", headers={"Range": "bytes=2-5"})
            assert (part.status, part.body) == (206, TREE["index.html"][2:6])
            assert part.headers["content-range"] == f"bytes 2-5/{len(TREE['index.html'])}"
            beyond = await caddy.get("ann.localhost", headers={"Range": "bytes=999999-"})
            assert beyond.status == 416

            for target, kind in (
                ("/app.js", "javascript"), ("/data.json", "application/json"), ("/pic.svg", "image/svg+xml"),
                ("/docs/style.css", "text/css"), ("/.well-known/security.txt", "text/plain"),
            ):  # fmt: skip
                answer = await caddy.get("ann.localhost", target)
                assert answer.status == 200
                assert kind in answer.headers["content-type"]
            assert "content-type" not in (await caddy.get("ann.localhost", "/plain")).headers

            head = await caddy.get("ann.localhost", method="HEAD")
            assert (head.status, head.headers["content-length"]) == (200, str(len(TREE["index.html"])))
            posted = await caddy.get("ann.localhost", method="POST", body=b"x")
            assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")

    asyncio.run(scenario())


def test_a_text_that_was_compressed_once_goes_to_whoever_takes_it() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            text = b"body { color: black }\n" * 200
            await publish(caddy, "ann", {**TREE, "style.css": text})
            plain = await caddy.get("ann.localhost", "/style.css")
            asked = {"Accept-Encoding": "br, gzip"}
            packed = await caddy.get("ann.localhost", "/style.css", headers=asked)
            assert (plain.body, gzip.decompress(packed.body)) == (text, text)
            assert (packed.headers["content-encoding"], packed.headers["content-type"]) == (
                "gzip",
                "text/css; charset=utf-8",
            )
            assert "Accept-Encoding" in packed.headers["vary"]
            assert plain.headers["etag"] != packed.headers["etag"]
            same = await caddy.get(
                "ann.localhost", "/style.css", headers={**asked, "If-None-Match": packed.headers["etag"]}
            )
            assert same.status == 304
            part = await caddy.get("ann.localhost", "/style.css", headers={"Range": "bytes=0-3"})
            assert (part.status, part.body) == (206, b"body")

    asyncio.run(scenario())


def test_clean_addresses_find_their_pages() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", TREE)
            for target, content in (
                ("/about", "about"), ("/about?x=1", "about"), ("/about.html", "about"), ("/docs/", "docs"),
                ("/both/", "both as a folder"), ("/a%20b%3F%5B1%5D%7Benv.HOME%7D.txt", "odd"),
                ("/odd%2A%7Benv.HOME%7D", "odd page"),
            ):  # fmt: skip
                answer = await caddy.get("ann.localhost", target)
                assert (answer.status, answer.text) == (200, content), target
            for target in ("/docs", "/both"):
                moved = await caddy.get("ann.localhost", target)
                assert (moved.status, moved.headers["location"]) == (308, f"{target}/")

    asyncio.run(scenario())


def test_missing_pages_get_the_site_s_own_404_or_ours() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", TREE)
            await publish(caddy, "bob", {**TREE, "404.html": b"bob has no such page"}, tenant=2)
            ours = await caddy.get("ann.localhost", "/missing")
            assert ours.status == 404
            assert "Page not found" in ours.text
            assert "server" not in ours.headers
            own = await caddy.get("bob.localhost", "/missing/deeper")
            assert (own.status, own.text) == (404, "bob has no such page")
            assert not {"etag", "last-modified", "server"} & set(own.headers)
            for odd in ("/index.html/below", "/" + "x" * 300, "/" + "%C3%BC" * 200, "/x" * 3000):
                assert (await caddy.get("ann.localhost", odd)).status == 404
            empty = await caddy.get("carol.localhost")
            assert empty.status == 404
            assert "Nothing here yet" in empty.text
            assert "server" not in empty.headers
            for stranger in ("example.com", "a.b.localhost", "", "..", "ann..localhost", "ann.localhost/../x", ".kept"):
                assert (await caddy.get(stranger)).status in (400, 404)

    asyncio.run(scenario())


TRAVERSALS = [
    "/../secret", "/%2e%2e/secret", "/%2e%2e%2fsecret", "/..%2fsecret", "/docs/../../secret",
    "/docs/%2e%2e/%2e%2e/secret", "/..%5csecret", "/..\\secret", "/%5c..%5csecret", "/%252e%252e/secret",
    "/..;/secret", "/....//secret", "//secret",
    "/docs/..%00/secret", "/index.html%00.txt", "/%00", "/.%00./secret", "/%c0%ae%c0%ae/secret", "/~root", "/.env",
    "/%2eenv", "/docs/.env", "/.git/config", "/.well-known/../.env", "/.well-known/.env", "/%2ewell-known%2f..%2f.env",
    "/.well-known%2f.env", "/{env.HOME}", "/{http.vars.root}/../secret", "/*", "/[i]ndex.html",
    "/ann/../../2/current/only-bob", "/../current/only-bob", "/../../2/current/only-bob",
]  # fmt: skip


def test_nothing_outside_and_nothing_hidden_is_served() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", TREE)
            await publish(caddy, "bob", {**TREE, "only-bob": b"SECRET"}, tenant=2)
            folder = (caddy.folder / "releases" / "1" / "current").resolve()
            for place in (folder, folder.parent, folder.parent.parent, folder / "docs", folder / ".well-known"):
                (place / ".env").write_bytes(b"SECRET")
                (place / "secret" if place not in (folder, folder / "docs") else place / ".x").write_bytes(b"SECRET")
            (folder / ".git").mkdir()
            (folder / ".git" / "config").write_bytes(b"SECRET")
            for target in TRAVERSALS:
                answer = await caddy.get("ann.localhost", target)
                assert b"SECRET" not in answer.body, target
                assert answer.status in (301, 308, 400, 404), (target, answer.status)

    asyncio.run(scenario())


def test_tenants_are_apart() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", {"index.html": b"ann", "a": b"1"}, tenant=1)
            await publish(caddy, "bob", {"index.html": b"bob", "b": b"2"}, tenant=2)
            assert [(await caddy.get(f"{name}.localhost")).text for name in ("ann", "bob")] == ["ann", "bob"]
            assert (await caddy.get("ann.localhost", "/b")).status == 404
            assert (await caddy.get("bob.localhost", "/a")).status == 404

    asyncio.run(scenario())


def test_a_new_release_shows_at_once_without_one_failed_request() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", {"index.html": b"0" * 100})
            done, tags = asyncio.Event(), set[str]()

            async def visit() -> int:
                visits = 0
                while not done.is_set():
                    answer = await caddy.get("ann.localhost")
                    assert answer.status == 200
                    assert len(set(answer.body)) == 1
                    tags.add(answer.headers["etag"])
                    visits += 1
                return visits

            async with asyncio.TaskGroup() as group:
                visitors = [group.create_task(visit()) for _ in range(6)]
                for n in range(1, 40):
                    await publish(caddy, "ann", {"index.html": b"%d" % (n % 10) * 100})
                    assert (await caddy.get("ann.localhost")).body == b"%d" % (n % 10) * 100
                done.set()
            assert sum(task.result() for task in visitors) > 100
            # The same size in the same second, and yet each content has a tag of its own.
            assert len(tags) == 10

    asyncio.run(scenario())


def test_a_port_in_use_is_told_in_words() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            with pytest.raises(Unavailable, match=rf"Port {caddy.settings.port} is in use .* SUBCLAW_PORT"):
                check_port(caddy.settings)

    asyncio.run(scenario())


def test_logs_are_json_and_hold_no_visitor_s_words() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", TREE)
            # The control plane breaks off, so this is an error, and Caddy's log of errors has the whole request in it.
            headers = {"Cookie": "session=HUSH", "Authorization": "Bearer HUSH"}

            async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
                writer.close()

            async with await asyncio.start_unix_server(break_off, caddy.settings.control_socket):
                caddy.settings.control_socket.chmod(0o777)
                with contextlib.suppress(h11.RemoteProtocolError):
                    await caddy.get("localhost", "/HUSH?token=HUSH", headers=headers)
            assert "HUSH" not in caddy.errors.read_text()
            assert any(line["level"] == "error" for line in log_lines(caddy))

    asyncio.run(scenario())


def test_the_router_can_be_told_nothing_while_it_runs_and_saves_nothing_by_itself() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            await publish(caddy, "ann", TREE)
            assert not list(caddy.settings.state.rglob("*.sock"))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", 2019)
            assert not list(caddy.settings.state.rglob("autosave*"))

    asyncio.run(scenario())
