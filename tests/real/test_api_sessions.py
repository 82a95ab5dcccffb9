"""Sessions over the HTTP API: opened, talked in, followed, and apart."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx2
import psycopg
import pytest
from tests.real.api_scene import Scene, open_session, play, until_replied

from subclaw.core.api_key import Scope, signing_key
from subclaw.core.session_token import SessionToken, sign_token
from subclaw.store.api_keys import listed, revoke_key, rotate_key
from subclaw.store.customers import session_of
from subclaw.store.database import DatabaseAddress, Role
from subclaw.testing.models import calls, words


def test_a_customer_says_something_and_is_answered(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client, binding={"customer_id": "C-17"})
            said = await client.post(f"/sessions/{session}/events", json={"text": "Where is my order?", "id": "m1"})
            taken = said.json()
            assert (said.status_code, taken["message"], taken["duplicate"]) == (202, "m1", False)
            again = await client.post(f"/sessions/{session}/events", json={"text": "Where is my order?", "id": "m1"})
            assert again.json()["duplicate"]
            events = await until_replied(client, session)
            assert [event["type"] for event in events] == [
                "turn.started",
                "message",
                "step",
                "step",
                "reply",
                "turn.finished",
            ]
            assert [event.get("text") for event in events if "text" in event] == [
                "Where is my order?",
                "It is on its way.",
            ]
            assert [(event["tool"], event["state"]) for event in events if event["type"] == "step"] == [
                ("refund", "started"),
                ("refund", "finished"),
            ]
            found = await session_of(scene.database, session)
            assert found is not None
            assert found.binding == {"customer_id": "C-17"}
        assert "C-17" not in str(scene.model.prompts)
        assert all("C-17" not in json.dumps(event) for event in events)

    play(scenario, address, [calls(("refund", '{"amount": 5}')), words("It is on its way.")])


def test_events_are_followed_and_a_stream_goes_on_where_it_broke_off(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            first = asyncio.create_task(follow(client, session, until="turn.finished"))
            await client.post(f"/sessions/{session}/events", json={"text": "hello"})
            seen = await first
            assert [kind for kind, _, _ in seen if kind in ("message", "reply")] == ["message", "reply"]
            last = next(id for kind, id, _ in seen if kind == "message")
            rest = await follow(client, session, until="turn.finished", last_event_id=last)
            assert [kind for kind, _, _ in rest if kind != "working"] == ["reply", "turn.finished"]
            assert rest == [event for event in seen if event[1] and int(event[1]) > int(last)]

    play(scenario, address)


async def follow(
    client: httpx2.AsyncClient, session: str, *, until: str, last_event_id: str = ""
) -> list[tuple[str, str, object]]:
    """Follow a session until something happens; return what happened: type, id and data."""
    seen: list[tuple[str, str, object]] = []
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    async with client.stream("GET", f"/sessions/{session}/events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        kind, id = "", ""
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind, id = value, ""
            elif name == "id":
                id = value
            elif name == "data":
                seen.append((kind, id, json.loads(value)))
                if kind == until:
                    return seen
    raise AssertionError("the stream ended")


def test_a_key_sees_its_own_agents_and_no_others(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client(await scene.key(agents=["sales"])) as sales, scene.client() as all_agents:
            session = await open_session(all_agents)
            assert [agent["id"] for agent in (await sales.get("/agents")).json()["data"]] == ["sales"]
            assert [agent["id"] for agent in (await all_agents.get("/agents")).json()["data"]] == ["sales", "support"]
            for path in (
                "/agents/support",
                "/agents/support/sessions",
                f"/sessions/{session}",
                f"/sessions/{session}/events",
            ):
                assert (await sales.get(path)).status_code == 404, path
            said = await sales.post(f"/sessions/{session}/events", json={"text": "let me in"})
            assert said.status_code == 404
            opened = await sales.post("/agents/support/sessions", json={"customer": "anna"})
            assert opened.status_code == 404
            assert (await sales.get("/customers")).json()["data"] == []

    play(scenario, address)


def test_a_key_is_for_its_scopes_and_no_more(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client(await scene.key(Scope.AGENTS_READ)) as client:
            assert (await client.get("/agents")).status_code == 200
            refused = await client.get("/customers")
            assert refused.status_code == 403
            assert refused.headers["content-type"] == "application/problem+json"
            assert "customers:read" in refused.json()["detail"]

    play(scenario, address)


def test_without_a_good_key_nothing_is_told(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        expired = await scene.key(life=timedelta(seconds=-1))
        for key in ("sck_nonsense", "sct_a.b", expired, "ö"):
            async with httpx2.AsyncClient(base_url=scene.url, trust_env=False) as client:
                response = await client.get("/v1/agents", headers={b"Authorization": f"Bearer {key}".encode()})
                assert response.status_code == 401, key
                assert response.headers["www-authenticate"] == "Bearer"

    play(scenario, address)


def test_a_key_is_rotated_with_an_overlap_and_revoked_at_once(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        old = await scene.key(Scope.AGENTS_READ)
        (known,) = await listed(scene.operator, limit=10)
        new_id = await rotate_key(scene.operator, known.id, "sck_new", overlap=timedelta(hours=1))
        async with scene.client(old) as client, scene.client("sck_new") as renewed:
            assert (await client.get("/agents")).status_code == 200
            assert (await renewed.get("/agents")).status_code == 200
            assert (await renewed.get("/customers")).status_code == 403, "the scopes are the old one's"
            await revoke_key(scene.operator, new_id)
            assert (await renewed.get("/agents")).status_code == 401
            assert (await client.get("/agents")).status_code == 200
        new, rotated = await listed(scene.operator, limit=10)
        assert (new.state, rotated.state) == ("revoked", "rotated")
        assert rotated.last_used_at is not None
        with psycopg.connect(scene.address.conninfo(Role.OWNER)) as owner:
            stored = str(owner.execute("SELECT * FROM api_key").fetchall())
        assert old not in stored

    play(scenario, address)


def test_a_key_that_is_used_too_much_has_to_wait(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client(await scene.key(per_minute=3)) as client:
            statuses = [(await client.get("/agents")).status_code for _ in range(3)]
            slow = await client.get("/agents")
        assert statuses == [200, 200, 200]
        assert slow.status_code == 429
        assert 1 <= int(slow.headers["retry-after"]) <= 21

    play(scenario, address)


def test_a_session_token_is_for_its_session_and_ends_with_its_key(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        key = await scene.key()
        async with scene.client(key) as client:
            session = await open_session(client, channel="widget")
            other = await open_session(client, "ben", channel="widget")
            made = (await client.post(f"/sessions/{session}/tokens", json={"life_s": 60})).json()
        (known,) = await listed(scene.operator, limit=10)
        later = datetime.now(UTC) + timedelta(minutes=1)
        own = sign_token(SessionToken(key_id=known.id, session=session, expires_at=later), key)
        for token in (made["token"], own):
            async with scene.client(token) as browser:
                assert (await browser.post(f"/sessions/{session}/events", json={"text": "hi"})).status_code == 202
                assert all("tool" not in event for event in await until_replied(browser, session))
                for path in (f"/sessions/{other}/events", "/sessions/x/events"):
                    assert (await browser.get(path)).status_code == 404
                for path in ("/agents", f"/sessions/{session}", "/customers"):
                    assert (await browser.get(path)).status_code == 403
        forged = sign_token(SessionToken(key_id=known.id, session=other, expires_at=later), "sck_guessed")
        over = sign_token(SessionToken(key_id=known.id, session=session, expires_at=datetime.now(UTC)), key)
        for token in (forged, over, made["token"][:-8] + "AAAAAAAA"):
            async with scene.client(token) as browser:
                assert (await browser.get(f"/sessions/{session}/events")).status_code == 401
        await revoke_key(scene.operator, known.id)
        async with scene.client(made["token"]) as browser:
            assert (await browser.get(f"/sessions/{session}/events")).status_code == 401
        with psycopg.connect(scene.address.conninfo(Role.OWNER)) as owner:
            assert bytes(signing_key(key)) not in {row[0] for row in owner.execute("SELECT verify_key FROM api_key")}

    play(scenario, address, [words("one"), words("two")])


def test_no_browser_talks_in_a_session_that_is_not_for_the_widget(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        key = await scene.key()
        async with scene.client(key) as client:
            session = await open_session(client)
            refused = await client.post(f"/sessions/{session}/tokens", json={})
            assert (refused.status_code, "not opened with" in refused.json()["detail"]) == (403, True)
        (known,) = await listed(scene.operator, limit=10)
        later = datetime.now(UTC) + timedelta(minutes=1)
        signed = sign_token(SessionToken(key_id=known.id, session=session, expires_at=later), key)
        async with scene.client(signed) as browser:
            assert (await browser.get(f"/sessions/{session}/events")).status_code == 403

    play(scenario, address)


def test_the_same_call_is_performed_once(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            name = {"Idempotency-Key": "open-1"}
            body = {"customer": "anna"}
            first = await client.post("/agents/support/sessions", json=body, headers=name)
            second = await client.post("/agents/support/sessions", json=body, headers=name)
            assert first.json() == second.json()
            assert (first.status_code, second.status_code) == (201, 201)
            assert second.headers["idempotent-replayed"] == "true"
            other = await client.post("/agents/support/sessions", json={"customer": "ben"}, headers=name)
            assert other.status_code == 422
            assert len((await client.get("/agents/support/sessions")).json()["data"]) == 1
            async with scene.client() as another:
                assert (await another.post("/agents/support/sessions", json=body, headers=name)).json() != first.json()
            wrong = await client.post("/agents/nobody/sessions", json=body, headers={"Idempotency-Key": "open-2"})
            mended = await client.post("/agents/support/sessions", json=body, headers={"Idempotency-Key": "open-3"})
            assert (wrong.status_code, mended.status_code) == (404, 201), "what failed can be made again"

    play(scenario, address)


def test_the_same_call_twice_at_once_is_performed_once(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            answers = await asyncio.gather(
                *(
                    client.post("/agents/support/sessions", json={"customer": "a"}, headers={"Idempotency-Key": "x"})
                    for _ in range(8)
                )
            )
            assert {answer.status_code for answer in answers} <= {201, 409}
            assert len((await client.get("/agents/support/sessions")).json()["data"]) == 1

    play(scenario, address)


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 422, "body"),
        (b'{"customer": ""}', 422, "customer"),
        (b'{"customer": "a", "more": 1}', 422, "more"),
        (b'{"customer": "a\\u0000"}', 422, "NUL"),
        (b'{"customer": "\\ud800"}', 422, "text"),
        (b'{"customer": "a", "binding": {"x": NaN}}', 422, "number"),
        (b'{"customer": "a", "binding": ' + b'{"x":' * 30 + b"1" + b"}" * 30 + b"}", 422, "deep"),
        (b"[" * 200_000, 400, "body"),
        (b" " * 1_000_001, 413, "bytes"),
    ],
)
def test_bad_bodies_are_refused_in_words(address: DatabaseAddress, body: bytes, status: int, word: str) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            headers = {"Content-Type": "application/json"}
            response = await client.post("/agents/support/sessions", content=body, headers=headers)
            assert response.headers["content-type"] == "application/problem+json"
            assert response.status_code == status
            assert word in response.text

    play(scenario, address)


def test_lists_come_in_pages(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            made = [await open_session(client, f"customer {number}") for number in range(5)]
            seen: list[str] = []
            cursor = ""
            while True:
                page = (await client.get("/agents/support/sessions", params={"limit": 2, "cursor": cursor})).json()
                seen += [session["id"] for session in page["data"]]
                if page["next"] is None:
                    break
                cursor = page["next"]
            assert seen == made[::-1]
            only = (await client.get("/agents/support/sessions", params={"customer": "customer 3"})).json()
            assert [session["id"] for session in only["data"]] == [made[3]]
            assert (await client.get("/customers", params={"cursor": "***"})).status_code == 422
            assert len((await client.get("/customers", params={"limit": 3})).json()["data"]) == 3

    play(scenario, address)


def test_there_is_room_for_so_many_streams_and_for_one_again_when_one_ends(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            await client.post(f"/sessions/{session}/events", json={"text": "hello"})
            await until_replied(client, session)
            headers, path = {"Accept": "text/event-stream"}, f"/sessions/{session}/events"
            async with client.stream("GET", path, headers=headers) as first:
                lines = first.aiter_lines()  # held: the stream ends with it
                assert await anext(lines)
                refused = await client.get(path, headers=headers)
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) >= 1
                asked = {"model": "agents/support", "input": "hi", "user": "anna"}
                assert (await client.post("/responses", json=asked)).status_code == 503
                assert (await client.get("/customers/1/export")).status_code == 503
            async with asyncio.timeout(20):
                while (await client.get("/customers/1/export")).status_code == 503:
                    await asyncio.sleep(0.02)

    play(scenario, address, streams_limit=1)


def test_what_is_too_much_in_a_session_is_told_so(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            path, body = f"/sessions/{session}/events", {"text": "hello"}
            statuses = {(await client.post(path, json=body)).status_code for _ in range(15)}
            refused = await client.post(path, json=body)
            assert statuses == {202, 429}
            assert int(refused.headers["retry-after"]) > 1

    play(scenario, address)


def test_a_customer_cannot_say_what_is_for_the_platform(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            await client.post(f"/sessions/{session}/events", json={"text": "link"})
            events = await until_replied(client, session)
            assert [event["text"] for event in events if event["type"] == "reply"] == ["Hello, how can I help?"]

    play(scenario, address)
