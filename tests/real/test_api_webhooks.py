"""Webhooks that go out: through a real gateway, signed so that Standard Webhooks' own library believes them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from tests.real.api_scene import DEADLINE_S, Scene, open_session, scene, until_replied

from subclaw.api.webhooks import deliver_webhooks
from subclaw.core.policy import Rule
from subclaw.core.webhook import WebhookEvent
from subclaw.egress.control.client import gateway_client
from subclaw.egress.keys import ensure_key, read_public_key
from subclaw.store.account_book import StoreAccountBook
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.egress_rules import add_rule
from subclaw.testing.egress import run, running_gateway
from subclaw.testing.egress_machine import trusting, upstream_authority
from subclaw.testing.models import ScriptedModel, words
from subclaw.testing.upstream import Connection, FakeUpstream, Seen, http_upstream, simple

HOST = "shop.test"


@dataclass(kw_only=True)
class Hooked:
    """A scene with a shop that takes webhooks, and answers with these statuses, the last one for good."""

    scene: Scene
    client: httpx2.AsyncClient
    shop: FakeUpstream
    url: str

    async def make(self, *events: str, agent: str | None = "support") -> dict[str, Any]:
        body = {"url": self.url, "events": list(events or WebhookEvent), "agent": agent}
        response = await self.client.post("/webhooks", json=body, headers={"Idempotency-Key": "hook"})
        assert response.status_code == 201, response.text
        return dict(response.json())

    async def until_delivered(self, count: int) -> list[Seen]:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.shop.requests) < count:
                await asyncio.sleep(0.02)
        return self.shop.requests

    async def until_settled(self, endpoint: str, state: str) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = (await self.client.get(f"/webhooks/{endpoint}/deliveries")).json()
                for one in found:
                    if one["state"] == state and (one["detail"] or state == "sent"):
                        return dict(one)
                await asyncio.sleep(0.02)


def play(
    scenario: Callable[[Hooked], Awaitable[None]],
    address: DatabaseAddress,
    folder: Path,
    statuses: Sequence[str] = ("204 No Content",),
    pinned: Sequence[str] = ("127.0.0.1",),
) -> None:
    async def main() -> None:
        async with hooked(address, folder, list(statuses), pinned) as made:
            await scenario(made)

    run(main)


@asynccontextmanager
async def hooked(
    address: DatabaseAddress, folder: Path, statuses: list[str], pinned: Sequence[str]
) -> AsyncIterator[Hooked]:
    async def answer(seen: Seen, connection: Connection) -> None:
        await connection.write(simple(b"", status=statuses.pop(0) if len(statuses) > 1 else statuses[0]))

    ensure_key(folder, os.getuid(), os.getgid())
    authority, model = upstream_authority(), ScriptedModel([words("hello")])
    async with (
        http_upstream(answer, tls=authority.context(HOST)) as shop,
        open_database(address, Role.EGRESS, size=1) as egress,
        running_gateway(folder, (), {}, ssl_context=trusting(authority), accounts=StoreAccountBook(egress)) as socket,
        gateway_client(socket) as gateway,
        scene(address, model, seal_to=read_public_key(folder)) as opened,
        opened.client() as client,
        asyncio.TaskGroup() as group,
    ):
        if pinned:
            rule = Rule(host=HOST, ports=(shop.port,), addresses=tuple(pinned))
            await add_rule(opened.operator, rule, tenant_id=None, created_by="operator")
        delivering = group.create_task(deliver_webhooks(opened.database, address, gateway))
        yield Hooked(scene=opened, client=client, shop=shop, url=f"https://{HOST}:{shop.port}/hooks?shop=1")
        delivering.cancel()


async def talk(made: Hooked) -> str:
    session = await open_session(made.client)
    await made.client.post(f"/sessions/{session}/events", json={"text": "canary-words"})
    await until_replied(made.client, session)
    return session


def make_due(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
        owner.execute("UPDATE webhook_delivery SET send_at = now(), claimed_until = NULL WHERE state = 'queued'")
        owner.execute("NOTIFY subclaw_webhook")


def test_a_reply_is_told_signed_and_without_words(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(made: Hooked) -> None:
        endpoint = await made.make("session.replied", "customer.erased")
        session = await talk(made)
        (seen,) = await made.until_delivered(1)
        assert (seen.method, seen.target) == ("POST", "/hooks?shop=1")
        told = Webhook(endpoint["secret"]).verify(seen.body, seen.headers)
        assert told["type"] == "session.replied"
        assert (told["data"]["session"], told["data"]["customer"]) == (session, "anna")
        assert b"canary-words" not in made.shop.received
        with pytest.raises(WebhookVerificationError):
            Webhook(endpoint["secret"]).verify(seen.body + b" ", seen.headers)
        delivery = await made.until_settled(endpoint["id"], "sent")
        assert (delivery["id"], delivery["attempts"]) == (seen.headers["webhook-id"], 1)
        (customer,) = (await made.client.get("/customers")).json()["data"]
        assert (await made.client.delete(f"/customers/{customer['id']}")).status_code == 200
        _, erased = await made.until_delivered(2)
        assert json.loads(erased.body)["data"] == {"agent": "support", "customer": "anna"}

    play(scenario, address, tmp_path)


def test_the_secret_is_shown_once_and_stored_nowhere(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(made: Hooked) -> None:
        endpoint, again = await made.make(), await made.make()
        assert again == {**endpoint, "secret": None}
        (listed,) = (await made.client.get("/webhooks")).json()["data"]
        assert listed["secret"] is None
        with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
            for table in ("webhook_endpoint", "api_call"):
                query = psycopg.sql.SQL("SELECT x.* FROM {} x").format(psycopg.sql.Identifier(table))
                assert endpoint["secret"] not in str(owner.execute(query).fetchall())

    play(scenario, address, tmp_path)


def test_what_fails_is_tried_again_under_the_same_name(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(made: Hooked) -> None:
        endpoint = await made.make("session.replied")
        await talk(made)
        failed = await made.until_settled(endpoint["id"], "queued")
        assert "503" in failed["detail"]
        make_due(address)
        await made.until_settled(endpoint["id"], "sent")
        first, second = made.shop.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body

    play(scenario, address, tmp_path, ["503 Busy", "200 OK"])


def test_a_delivery_that_fails_too_often_is_dead_and_can_be_sent_again(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    async def scenario(made: Hooked) -> None:
        endpoint = await made.make("session.replied")
        await talk(made)
        await made.until_settled(endpoint["id"], "queued")
        with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
            owner.execute("UPDATE webhook_delivery SET attempts = 9")
        make_due(address)
        dead = await made.until_settled(endpoint["id"], "dead")
        retried = await made.client.post(f"/webhooks/{endpoint['id']}/deliveries/{dead['id']}/retry")
        assert retried.status_code == 202
        make_due(address)
        await made.until_settled(endpoint["id"], "sent")

    play(scenario, address, tmp_path, ["500 No", "500 No", "200 OK"])


def test_an_endpoint_that_is_gone_or_fails_for_days_is_disabled(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(made: Hooked) -> None:
        endpoint = await made.make("session.replied")
        path = f"/webhooks/{endpoint['id']}"
        await talk(made)
        await made.until_settled(endpoint["id"], "queued")
        assert (await made.client.get(path)).json()["disabled_at"] is None
        with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
            owner.execute("UPDATE webhook_endpoint SET failing_since = now() - interval '6 days'")
        make_due(address)
        await made.until_delivered(2)
        async with asyncio.timeout(DEADLINE_S):
            while (await made.client.get(path)).json()["disabled_at"] is None:
                await asyncio.sleep(0.02)
        enabled = (await made.client.post(f"{path}/enable")).json()
        assert (enabled["disabled_at"], enabled["failing_since"]) == (None, None)
        make_due(address)
        await made.until_settled(endpoint["id"], "dead")
        assert (await made.client.get(path)).json()["disabled_at"] is not None, "410: it wants no more"
        assert (await made.client.delete(path)).status_code == 204
        assert (await made.client.get(path)).status_code == 404

    play(scenario, address, tmp_path, ["500 No", "500 No", "410 Gone"])


def test_an_address_of_the_operators_own_is_not_reached(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(made: Hooked) -> None:
        made.url = made.url.replace(HOST, "shop.localhost")
        for url in (
            "http://shop.test/",
            "https://127.0.0.1/",
            "https://10.0.0.1/x",
            "https://u@shop.test/",
            "https://x",
        ):
            refused = await made.client.post("/webhooks", json={"url": url, "events": ["turn.failed"]})
            assert refused.status_code == 422, url
        endpoint = await made.make("session.replied")
        await talk(made)
        failed = await made.until_settled(endpoint["id"], "queued")
        assert made.shop.connections == []
        assert "must not be reached" in failed["detail"]

    play(scenario, address, tmp_path, pinned=())
