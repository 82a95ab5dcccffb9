"""Customers, approvals and schedules over the HTTP API: taken out, erased with a receipt, decided once."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
from tests.real.api_scene import DEADLINE_S, Scene, open_session, play, until_replied

from subclaw.core.api_key import Scope
from subclaw.core.receipt import is_genuine
from subclaw.schedules.reminders import keep_time
from subclaw.store.database import DatabaseAddress, Role
from subclaw.testing.models import calls, words


async def customer_id(client: httpx2.AsyncClient, customer: str) -> int:
    (found,) = (await client.get("/customers", params={"customer": customer})).json()["data"]
    return int(found["id"])


def rows_with(address: DatabaseAddress, text: str) -> set[str]:
    """Return the tables in which a text is anywhere."""
    with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
        tables = [name for (name,) in owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {
            table
            for table in tables
            if owner.execute(
                psycopg.sql.SQL("SELECT 1 FROM {} x WHERE strpos(x::text, %s) > 0 LIMIT 1").format(
                    psycopg.sql.Identifier(table)
                ),
                [text],
            ).fetchone()
        }


def test_an_erased_customer_leaves_a_receipt_and_nothing_else(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            name = {"Idempotency-Key": "say-1"}
            session = await open_session(client, "anna-4711", binding={"token": "canary-binding"})
            other = await open_session(client, "ben")
            said = {"text": "My dog is called canary-rex"}
            await client.post(f"/sessions/{session}/events", json=said, headers=name)
            await client.post(f"/sessions/{other}/events", json={"text": "hi"})
            await until_replied(client, session)
            await until_replied(client, other)
            assert "event" in rows_with(scene.address, "canary-rex")
            number = await customer_id(client, "anna-4711")
            erased = await client.delete(f"/customers/{number}")
            assert erased.status_code == 200, erased.text
            receipt = erased.json()
            assert receipt["rows"]["event"] >= 4
            assert (receipt["rows"]["session"], receipt["machine"], receipt["files"]) == (1, True, 0)
            assert scene.destroyed == [number]
            assert receipt["customer_sha256"] == hashlib.sha256(b"support anna-4711").hexdigest()
            assert is_genuine(receipt, receipt["key"])
            assert not is_genuine({**receipt, "machine": False}, receipt["key"])
            assert (await client.get(f"/receipts/{receipt['id']}")).json() == receipt
            for text in ("canary-rex", "canary-binding", session):
                assert rows_with(scene.address, text) == set(), text
            assert (await client.delete(f"/customers/{number}")).status_code == 404
            assert (await client.get(f"/sessions/{session}/events")).status_code == 404
            assert [one["customer"] for one in (await client.get("/customers")).json()["data"]] == ["ben"]
            assert len(await until_replied(client, other)) >= 4, "nobody else's went"
        async with scene.client(await scene.key(agents=["sales"])) as sales:
            assert (await sales.get(f"/receipts/{receipt['id']}")).status_code == 404

    play(scenario, address)


def test_an_export_has_all_that_is_a_customers_and_nothing_of_others(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            for customer in ("anna", "ben"):
                session = await open_session(client, customer, binding={"token": f"bound-{customer}"})
                await client.post(f"/sessions/{session}/events", json={"text": f"I am {customer}"})
                await until_replied(client, session)
            exported = await client.get(f"/customers/{await customer_id(client, 'anna')}/export")
            lines = [json.loads(line) for line in exported.text.splitlines()]
            assert lines[0]["customer"] == "anna"
            assert lines[-1] == {"end": True}
            tables = {line["table"] for line in lines[1:-1]}
            assert {"event", "inbox", "session", "conversation", "identity"} <= tables
            assert "I am anna" in exported.text
            assert "ben" not in exported.text
            assert "bound-anna" not in exported.text

    play(scenario, address)


def test_an_owner_approves_what_an_agent_wants(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            await client.post(f"/sessions/{session}/events", json={"text": "refund me"})
            await until_replied(client, session)
            (waiting,) = (await client.get("/approvals", params={"state": "open"})).json()["data"]
            assert (waiting["tool"], waiting["customer"], waiting["session"]) == ("refund", "anna", session)
            with psycopg.connect(scene.address.conninfo(Role.OWNER)) as owner:
                codes = owner.execute("SELECT body ->> 'code' FROM event WHERE type = 'approval.requested'").fetchall()
            assert codes[0][0] not in str(await until_replied(client, session))
            await client.post(f"/sessions/{session}/events", json={"text": f"OK {codes[0][0]}"})
            await until_replied(client, session, 2)
            whole = (await client.get(f"/approvals/{waiting['id']}")).json()
            assert whole["state"] == "open", "the customer's word decides nothing"
            assert json.loads(whole["arguments"]) == {"amount": 80}
            async with scene.client(await scene.key(Scope.APPROVALS_READ)) as reader:
                refused = await reader.post(f"/approvals/{waiting['id']}", json={"approve": True})
                assert refused.status_code == 403
            async with scene.client(await scene.key(agents=["sales"])) as sales:
                assert (await sales.get("/approvals")).json()["data"] == []
                assert (await sales.post(f"/approvals/{waiting['id']}", json={"approve": True})).status_code == 404
            decided = await client.post(f"/approvals/{waiting['id']}", json={"approve": True})
            assert decided.status_code == 202, decided.text
            events = await until_replied(client, session, 3)
            types = [event["type"] for event in events]
            assert types.count("step") == 2
            assert types.index("approval.requested") < types.index("approval.closed") < types.index("step")
            assert [event["text"] for event in events if event["type"] == "message"] == [
                "refund me",
                f"OK {codes[0][0]}",
            ]
            assert (await client.get(f"/approvals/{waiting['id']}")).json()["state"] == "approved"
            again = await client.post(f"/approvals/{waiting['id']}", json={"approve": False})
            assert again.status_code == 409

    play(scenario, address, [calls(("refund", '{"amount": 80}')), words("I wait."), words("Done.")], approve=["refund"])


def test_schedules_are_listed_without_their_words(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            await open_session(client)
            number = await customer_id(client, "anna")
            with psycopg.connect(scene.address.conninfo(Role.OWNER)) as owner:
                owner.execute(
                    "INSERT INTO schedule (tenant_id, conversation_id, call_id, due_at, mode, text)"
                    " SELECT %s, id, 'c1', now() + interval '1 day', 'message', 'canary' FROM conversation",
                    [number],
                )
            (found,) = (await client.get("/schedules")).json()["data"]
            assert (found["agent"], found["customer"], found["mode"], found["state"]) == (
                "support",
                "anna",
                "message",
                "pending",
            )
            assert "canary" not in str(found)
            assert (await client.get("/schedules", params={"agent": "sales"})).json()["data"] == []

    play(scenario, address)


def test_an_owner_sets_something_for_later_and_cancels_it(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client, asyncio.TaskGroup() as group:
            keeping = group.create_task(keep_time(scene.database, scene.address, read_in_place=("api",)))
            session = await open_session(client)
            soon = (datetime.now(UTC) + timedelta(seconds=6)).isoformat()
            said = {"session": session, "text": "Did it arrive?", "at": soon}
            first = await client.post("/schedules", json=said, headers={"Idempotency-Key": "later-1"})
            assert first.status_code == 201, first.text
            again = await client.post("/schedules", json=said, headers={"Idempotency-Key": "later-1"})
            assert again.json() == first.json()
            weekly = {**said, "repeat": "FREQ=WEEKLY", "time_zone": "Europe/Berlin", "mode": "agent_turn"}
            other = (await client.post("/schedules", json={**weekly, "at": "2026-01-01T09:00:00Z"})).json()
            assert datetime.fromisoformat(other["due_at"]) > datetime.now(UTC)
            assert (await client.delete(f"/schedules/{other['id']}")).status_code == 204
            events = await until_replied(client, session)
            assert [event["text"] for event in events if event["type"] == "reply"] == ["Did it arrive?"]
            states = {one["id"]: one["state"] for one in (await client.get("/schedules")).json()["data"]}
            assert states == {first.json()["id"]: "fired", other["id"]: "cancelled"}
            for wrong in (
                {"at": "2020-01-01T00:00:00Z"},
                {"at": "2030-01-01T00:00:00"},
                {"repeat": "often"},
                {"time_zone": "Mars"},
            ):
                assert (await client.post("/schedules", json={**said, **wrong})).status_code in (400, 422), wrong
            async with scene.client(await scene.key(agents=["sales"])) as sales:
                assert (await sales.delete(f"/schedules/{other['id']}")).status_code == 404
                assert (await sales.post("/schedules", json=said)).status_code == 404
            keeping.cancel()

    play(scenario, address)


def test_a_customer_that_is_erased_in_the_middle_of_a_turn_stays_erased(address: DatabaseAddress) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def scenario(scene: Scene) -> None:
        ask = scene.model.ask

        async def slow(prompt: Any) -> Any:
            asked.set()
            await go_on.wait()
            return await ask(prompt)

        scene.model.ask = slow  # type: ignore[method-assign]
        async with scene.client() as client:
            session = await open_session(client, "carl")
            await client.post(f"/sessions/{session}/events", json={"text": "canary-hello"})
            async with asyncio.timeout(DEADLINE_S):
                await asked.wait()
            assert (await client.delete(f"/customers/{await customer_id(client, 'carl')}")).status_code == 200
            go_on.set()
            after = await open_session(client, "dora")
            await client.post(f"/sessions/{after}/events", json={"text": "hi"})
            await until_replied(client, after)
            assert rows_with(scene.address, "canary-hello") == set()

    play(scenario, address)
