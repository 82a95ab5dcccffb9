"""The console's routes over a real PostgreSQL: who gets in, what can be done, and that no words get out."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import psycopg
import pytest
from tests.real.console_scene import CANARY, HOSTILE, NUMBER, Scene, answer, console, hear, links, machine, plant

from subclaw.console.access import hash_key, new_session
from subclaw.console.display import STATES
from subclaw.console.gate import console_link, cookie_name
from subclaw.console.tries import LIMIT
from subclaw.core.event import TurnOutcome
from subclaw.store.database import DatabaseAddress, Role

URL = "https://box.example"
FORM = {"content-type": "application/x-www-form-urlencoded", "origin": URL}
PAGES = ("", "/", "/tenants", "/tenants/1", "/channels", "/outbox", "/schedules", "/machines", "/nothing", "/tenants/x")

Steps = Callable[[httpx2.AsyncClient, Scene], Awaitable[None]]


def play(address: DatabaseAddress, steps: Steps, *, sign_in: bool = True, parts: dict[str, Path] | None = None) -> None:
    async def run() -> None:
        async with console(address, URL, parts) as scene:
            transport = httpx2.ASGITransport(app=scene.app)
            async with httpx2.AsyncClient(transport=transport, base_url=URL) as client:
                if sign_in:
                    assert (await enter(client, scene.key)).status_code == 303
                await steps(client, scene)

    asyncio.run(run())


async def enter(client: httpx2.AsyncClient, key: str, **headers: str) -> httpx2.Response:
    return await client.post("/console/enter", data={"key": key}, headers={**FORM, **headers})


async def crawl(client: httpx2.AsyncClient) -> dict[str, str]:
    """Follow every link from the overview on; return the pages by address."""
    seen: dict[str, str] = {}
    waiting = {"/console"}
    while waiting:
        path = waiting.pop()
        seen[path] = (await client.get(path)).text
        waiting |= {link for link in links(seen[path]) if "/assets/" not in link} - seen.keys()
        assert len(seen) < 100
    return seen


@pytest.mark.parametrize("session", ["", "x", "1.aaaaaaaaaaaaaaaaaaaaaa." + "b" * 43, "of another key"])
def test_a_stranger_sees_the_door_and_nothing_else(address: DatabaseAddress, session: str) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        tenant_id = await plant(scene)
        value = new_session(hash_key("another"), 2e9) if session == "of another key" else session
        client.cookies.set(cookie_name(URL), value)
        for path in PAGES:
            page = await client.get(f"/console{path}")
            assert page.status_code == 401, path
            assert 'name="key"' in page.text
            assert "calm-otter" not in page.text
            assert page.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in page.headers["content-security-policy"]
        asleep = await client.post(f"/console/machines/{tenant_id}/sleep", headers=FORM)
        assert asleep.status_code == 401
        assert len(scene.fleet.awake) == 2

    play(address, steps, sign_in=False)


def test_the_key_opens_and_its_session_is_the_browsers_alone(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        entered = await enter(client, scene.key)
        assert (entered.status_code, entered.headers["location"]) == (303, "/console")
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith("__Host-subclaw_console=")
        assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Secure", "Path=/"))
        assert scene.key not in cookie
        assert hash_key(scene.key).hex() not in cookie
        assert (await client.get("/console")).status_code == 200
        left = await client.post("/console/leave", headers=FORM)
        assert left.status_code == 303
        assert (await client.get("/console")).status_code == 401

    play(address, steps, sign_in=False)


def test_a_wrong_key_opens_nothing_and_few_may_be_tried(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        for key in ("", "x", scene.key[:-1], scene.key + "x", "\u00e9", "\0" * 300):
            wrong = await enter(client, key)
            assert wrong.status_code == 401, key
            assert "set-cookie" not in wrong.headers
            assert key not in wrong.text or len(key) < 2
        for _ in range(LIMIT - 6):
            await enter(client, "guess")
        assert (await enter(client, scene.key)).status_code == 429, "not even the right one, from here"
        elsewhere = {"x-forwarded-for": "198.51.100.1, 203.0.113.9"}
        assert (await enter(client, scene.key, **elsewhere)).status_code == 303

    play(address, steps, sign_in=False)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"key=" + b"x" * 3_000, FORM["content-type"]),
        (b"&".join(b"a=b" for _ in range(50)), FORM["content-type"]),
        (b"\xff\xfe", FORM["content-type"]),
        (b'{"key": "x"}', "application/json"),
    ],
)
def test_what_is_no_form_is_refused(address: DatabaseAddress, body: bytes, kind: str) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        refused = await client.post("/console/enter", content=body, headers={**FORM, "content-type": kind})
        assert refused.status_code == 422
        assert "not a form" in refused.text

    play(address, steps, sign_in=False)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://calm-otter.box.example"},
        {"origin": "null"},
    ],
)
def test_no_other_page_can_press_a_button(address: DatabaseAddress, headers: dict[str, str]) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        scene.fleet.awake = [machine(5)]
        for path in ("/console/machines/5/sleep", "/console/leave", "/console/enter"):
            refused = await client.post(path, data={"key": scene.key}, headers={**FORM, **headers})
            assert refused.status_code == 403, path
            assert "set-cookie" not in refused.headers
        assert len(scene.fleet.awake) == 1
        asleep = await client.get("/console/machines/5/sleep")
        assert asleep.status_code == 404, "a link puts nothing to sleep"

    play(address, steps)


def test_a_machine_is_put_to_sleep(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        tenant_id = await plant(scene)
        listed = (await client.get("/console/machines")).text
        assert "in use" in listed
        assert "1 min" in listed
        asleep = await client.post(f"/console/machines/{tenant_id}/sleep", headers=FORM)
        assert (asleep.status_code, asleep.headers["location"]) == (303, "/console/machines")
        assert [machine.tenant_id for machine in scene.fleet.awake] == [tenant_id + 1]
        for number in (0, 2**63, 10**30):
            assert (await client.post(f"/console/machines/{number}/sleep", headers=FORM)).status_code == 404

    play(address, steps)


def test_a_tenant_is_suspended_with_a_reason_and_goes_on(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        tenant_id = await plant(scene)
        page = f"/console/tenants/{tenant_id}"
        assert "Let it go on" not in (await client.get(page)).text
        suspended = await client.post(f"{page}/suspend", data={"because": "Spam, by the look of it."}, headers=FORM)
        assert (suspended.status_code, suspended.headers["location"]) == (303, page)
        assert tenant_id not in [machine.tenant_id for machine in scene.fleet.awake]
        told = text_of((await client.get(page)).text)
        assert "Suspended" in told
        assert "Spam, by the look of it." in told
        assert "suspended" in text_of((await client.get("/console/tenants")).text)
        assert await scene.database.rows("SELECT is_suspended(%s)", tenant_id) == [(True,)]
        assert (await client.post(f"{page}/resume", headers=FORM)).status_code == 303
        assert await scene.database.rows("SELECT is_suspended(%s)", tenant_id) == [(False,)]
        assert "Let it go on" not in (await client.get(page)).text

    play(address, steps)


def test_what_cannot_be_suspended_is_refused_and_a_host_that_is_away_stops_nothing(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        tenant_id = await plant(scene)
        page, cross = f"/console/tenants/{tenant_id}", {"Sec-Fetch-Site": "same-site"}
        for path in (f"{page}/suspend", f"{page}/resume"):
            assert (await client.post(path, data={}, headers=cross)).status_code == 403
        assert (await client.post(f"{page}/suspend", data={"because": "x" * 501}, headers=FORM)).status_code == 422
        assert (await client.post("/console/tenants/999/suspend", data={"a": "b"}, headers=FORM)).status_code == 404
        assert await scene.database.rows("SELECT is_suspended(%s)", tenant_id) == [(False,)]
        scene.fleet.up = False
        assert (await client.post(f"{page}/suspend", data={"because": ""}, headers=FORM)).status_code == 303
        assert await scene.database.rows("SELECT is_suspended(%s)", tenant_id) == [(True,)]

    play(address, steps)


def test_channels_are_shown_as_the_doctor_says(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        told = text_of((await client.get("/console/channels")).text)
        assert "+15550009999 well" in told
        assert "https://agents.example/webhooks/twilio/sms goes to: Twilio, the page of the number" in told
        assert "the token is wrong" in told
        assert "not set up set X_TOKEN" in told

    play(address, steps)


def test_no_page_shows_a_tenants_words_or_whole_address(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        tenant_id = await plant(scene)
        pages = await crawl(client)
        for path in ("/console", "/console/tenants", "/console/outbox", "/console/schedules", "/console/machines"):
            assert path in pages
        assert {f"/console/tenants/{tenant_id + number}" for number in range(3)} <= pages.keys()
        for path, page in pages.items():
            assert CANARY not in page, path
            assert NUMBER not in page, path
            assert "a" * 20 not in page, path
        assert "…4567" in pages[f"/console/tenants/{tenant_id + 1}"]

    play(address, steps)


def test_the_database_itself_refuses_the_operator_words(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        await plant(scene)

    play(address, steps)
    with psycopg.connect(address.conninfo(Role.OPERATOR), autocommit=True) as connection:
        for query in ("SELECT body FROM event", "SELECT text FROM inbox", "SELECT text FROM outbox"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(query)
        shown = repr(connection.execute("SELECT * FROM operator_event").fetchall())
        assert "stuck" in shown
        assert CANARY not in shown
        with pytest.raises(psycopg.Error):
            connection.execute("DELETE FROM operator_event")


@pytest.mark.parametrize("outcome", list(TurnOutcome))
def test_every_outcome_of_a_turn_is_told(address: DatabaseAddress, outcome: TurnOutcome) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        tenant_id = await hear(scene.database, name="calm-otter")
        await answer(scene.database, outcome=outcome)
        page = (await client.get(f"/console/tenants/{tenant_id}")).text
        (ended,) = re.findall(r"Turn ended <span class=\"badge[^>]*>([^<]+)<", page)
        assert ended == STATES[outcome]

    play(address, steps)


def test_figures_states_and_reasons_are_shown(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        tenant_id = await plant(scene)
        overview = text_of((await client.get("/console")).text)
        assert "Tenants 3 3 new" in overview
        assert "Messages 4 received" in overview
        assert "Turns running 1 0 waiting" in overview
        assert "Machines awake 2" in overview
        assert "Not delivered 1 1 on their way" in overview
        assert "Model tokens 7,770" in overview
        assert "m-1 6 7,500 270" in overview
        assert "none: messages are kept, and nobody answers" in overview
        tenant = text_of((await client.get(f"/console/tenants/{tenant_id}")).text)
        assert "a turn runs 2 10" in tenant
        assert "Model replied 1 tool call 1,200 / 34" in tenant
        assert "Tool finished error" in tenant
        outbox = text_of((await client.get("/console/outbox")).text)
        assert "swift-lark" in outbox
        assert "waiting no connection to Twilio" in outbox.replace("1 in", "")

    play(address, steps)


def test_what_comes_from_outside_is_shown_as_text(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        await plant(scene)
        pages = "".join((await crawl(client)).values())
        assert HOSTILE not in pages
        assert "&lt;img src=x onerror=" in pages
        assert "<b>carrier" not in pages
        assert "&lt;b&gt;carrier" in pages
        assert "<script>" not in pages
        assert "style=" not in pages
        searched = await client.get("/console/tenants", params={"name": '"><script>alert(1)</script>'})
        assert "<script>" not in searched.text

    play(address, steps)


def test_lists_go_on_where_a_page_ends(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.console.router.PAGE_ROWS", 2)
    monkeypatch.setattr("subclaw.console.router.EVENT_ROWS", 3)

    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        for number in range(5):
            await hear(scene.database, name=f"calm-otter-{number}", address=f"address {number}")
        await answer(scene.database)
        pages = await turn_pages(client, "/console/tenants")
        names = [name for page in pages for name in re.findall(r"calm-otter-\d", page)]
        assert names == [f"calm-otter-{number}" for number in (4, 3, 2, 1, 0)]
        events = await turn_pages(client, links_to_tenant((await client.get("/console/tenants")).text))
        assert sum(page.count("<time datetime") for page in map(timeline_of, events)) == 8

    play(address, steps)


async def turn_pages(client: httpx2.AsyncClient, path: str) -> list[str]:
    pages = [(await client.get(path)).text]
    while found := re.search(r'rel="next" href="([^"]+)"', pages[-1]):
        pages.append((await client.get(found[1].replace("&amp;", "&"))).text)
        assert len(pages) < 10
    return pages


def links_to_tenant(page: str) -> str:
    return min(link for link in links(page) if re.fullmatch(r"/console/tenants/\d+", link))


def timeline_of(page: str) -> str:
    return page.partition('class="timeline"')[2].partition("</table>")[0]


def test_tenants_are_found_by_name_and_others_are_not(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        await plant(scene)
        found = (await client.get("/console/tenants", params={"name": " Calm% "})).text
        assert "calm-otter" in found
        assert "swift-lark" not in found
        assert "begins like that" in (await client.get("/console/tenants", params={"name": "zz"})).text
        for path in ("0", str(2**63), "999999", "9" * 40):
            assert (await client.get(f"/console/tenants/{path}")).status_code == 404
        for query in ("before=x", "before=-1", "before=" + "9" * 19, "conversation=9999", "before=%00"):
            assert (await client.get(f"/console/tenants/1?{query}")).status_code in (200, 404)

    play(address, steps)


def test_what_does_not_answer_is_said(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        scene.fleet.up = False
        overview = text_of((await client.get("/console")).text)
        assert "Machines awake \u2013 their host does not answer" in overview
        assert "Router answers" in overview
        assert "Egress gateway does not answer" in overview
        assert "does not answer" in (await client.get("/console/machines")).text

    async def run() -> None:
        server = await asyncio.start_unix_server(lambda _, writer: writer.close(), tmp_path / "router.sock")
        async with server, console(address, URL, parts) as scene:
            transport = httpx2.ASGITransport(app=scene.app)
            async with httpx2.AsyncClient(transport=transport, base_url=URL) as client:
                await enter(client, scene.key)
                await steps(client, scene)

    parts = {"Router": tmp_path / "router.sock", "Egress gateway": tmp_path / "nobody.sock"}
    asyncio.run(run())


def test_a_database_that_is_gone_is_a_page_too(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
            connection.execute("ALTER ROLE subclaw_operator NOLOGIN")
            try:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'subclaw_operator'"
                )
                gone = await client.get("/console")
            finally:
                connection.execute("ALTER ROLE subclaw_operator LOGIN")
        assert gone.status_code == 503
        assert "database" in text_of(gone.text)

    play(address, steps)


def test_the_files_of_a_page_are_there(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        for path in ("/console", "/console/enter"):
            page = (await client.get(path)).text
            files = {link for link in links(page) if "/assets/" in link} | set(re.findall(r'src="([^"]+)"', page))
            assert len(files) == 4
            for file in files:
                assert (await client.get(file)).status_code == 200, file

    play(address, steps)


def test_the_key_is_in_the_links_fragment() -> None:
    assert console_link(URL, "abc") == f"{URL}/console/enter#abc"


def text_of(page: str) -> str:
    """Return a page's words, one space apart."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("<main")[2]).partition(">")[2].split())
