"""Customers connect accounts of their own, and the agent's tools use each customer's in that customer's name alone."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx2
import uvloop
from tests.real.api_scene import Scene, scene, until_replied
from tests.real.tool_scene import MemoryAudit, package_of

from subclaw.api.app import make_app
from subclaw.business.outgoing import Requests
from subclaw.business.tools import AgentTools, sessions_in
from subclaw.client import Client
from subclaw.core.oauth import client_label
from subclaw.core.policy import Rule
from subclaw.core.tool import Caller, ToolCall, ToolResult
from subclaw.egress.control.client import gateway_client
from subclaw.egress.control.connect_client import connect_account
from subclaw.egress.keys import ensure_key, read_public_key
from subclaw.egress.seal import seal
from subclaw.handover.accounts import accounts_router
from subclaw.store.account_book import StoreAccountBook
from subclaw.store.customers import conversation_of, session_of
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.egress_book import StoreEgressBook
from subclaw.store.egress_rules import add_rule
from subclaw.store.oauth import save_provider
from subclaw.store.secrets import placeholders
from subclaw.testing.egress import running_gateway
from subclaw.testing.egress_machine import trusting, upstream_authority
from subclaw.testing.models import ScriptedModel, words
from subclaw.testing.oauth import CLIENT_SECRET, HOST, FakeProvider, running_provider
from subclaw.tools.toolbox import BuiltInToolbox

TOOL = """
from subclaw.tool import http, secret


def my_files() -> str:
    \"\"\"List the customer's files.\"\"\"
    answer = http("POST", "https://HOST:PORT/api", headers={"Authorization": f"Bearer {secret('TEST_ACCESS_TOKEN')}"})
    return f"{answer.status} {answer.text}"
"""


@dataclass(frozen=True, kw_only=True)
class Connected:
    """An agent whose tool uses customers' accounts, and all that they are connected by."""

    scene: Scene
    client: Client
    provider: FakeProvider
    web: httpx2.AsyncClient
    toolbox: BuiltInToolbox

    async def connect(self, session: str) -> set[str]:
        """Have a session's customer connect an account; return the tokens that were given for it."""
        before = set(self.provider.given)
        link = await self.client.connect_account(session, "test")
        to_provider = await self.web.get(link.url)
        assert to_provider.status_code == 303, to_provider.text
        back = await self.web.get(self.provider.consent(to_provider.headers["location"]))
        assert "Connected" in back.text, back.text
        return set(self.provider.given) - before

    async def use(self, session: str) -> ToolResult:
        """Have a session's agent use its tool."""
        found = await session_of(self.scene.database, session)
        assert found is not None
        conversation_id = await conversation_of(self.scene.database, found.tenant_id, session)
        call = ToolCall(id="call_1", name="my_files", arguments="{}")
        caller = Caller(tenant_id=found.tenant_id, conversation_id=conversation_id, call_id=call.id, turn_id="turn_1")
        return await self.toolbox.perform(caller, call)

    def shown(self) -> str:
        """Return what the provider's API was shown last."""
        seen = [one for one in self.provider.upstream.requests if one.target == "/api"][-1]
        return seen.headers["authorization"]


def play(scenario: Callable[[Connected], Awaitable[None]], address: DatabaseAddress, folder: Path) -> None:
    async def main() -> None:
        async with connected(address, folder) as made:
            await scenario(made)

    uvloop.run(main())


@asynccontextmanager
async def connected(address: DatabaseAddress, folder: Path) -> AsyncIterator[Connected]:
    ensure_key(folder, os.getuid(), os.getgid())
    authority, key = upstream_authority(), read_public_key(folder)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(scene(address, ScriptedModel([words("Thank you.")]), seal_to=key))
        egress = await stack.enter_async_context(open_database(address, Role.EGRESS, size=4))
        provider = await stack.enter_async_context(running_provider(authority))
        rule = Rule(host=HOST, ports=(provider.port,), addresses=("127.0.0.1",), paths=("/none",))
        await add_rule(opened.operator, rule, tenant_id=None, created_by="operator")
        sealed = seal(key, CLIENT_SECRET, client_label("test"))
        await save_provider(opened.operator, provider.provider(), sealed)
        socket = await stack.enter_async_context(
            running_gateway(
                folder,
                (),
                {},
                ssl_context=trusting(authority),
                accounts=StoreAccountBook(egress),
                book=StoreEgressBook(egress, address),
            )
        )
        gateway = await stack.enter_async_context(gateway_client(socket))
        pages = [accounts_router("subclaw", opened.database, partial(connect_account, gateway))]
        transport = httpx2.ASGITransport(app=make_app(pages, check=partial(opened.database.rows, "SELECT 1")))
        tools = AgentTools(
            requests=Requests(gateway, partial(placeholders, opened.database)),
            session_of=sessions_in(opened.database),
            audit=MemoryAudit(),
            clock=lambda: datetime.now(UTC),
        )
        stack.push_async_callback(tools.close)
        package = package_of({"tools/files.py": TOOL.replace("HOST", HOST).replace("PORT", str(provider.port))})
        yield Connected(
            scene=opened,
            client=await stack.enter_async_context(Client(opened.url, await opened.key())),
            provider=provider,
            web=await stack.enter_async_context(httpx2.AsyncClient(transport=transport)),
            toolbox=BuiltInToolbox([]).joined(await tools.tools_of(package)),
        )


def test_each_customers_account_is_used_for_that_customer_alone(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(made: Connected) -> None:
        anna, ben, cleo = [
            (await made.client.open_session("support", customer=name)).id for name in ("anna", "ben", "cleo")
        ]
        of_anna, of_ben = await made.connect(anna), await made.connect(ben)
        for session, own, others in ((anna, of_anna, of_ben), (ben, of_ben, of_anna), (anna, of_anna, of_ben)):
            result = await made.use(session)
            assert result.content.startswith("200"), result
            shown = made.shown()
            assert any(token in shown for token in own), "the customer's own token"
            assert not any(token in shown + result.content for token in others), "nobody else's"
            assert not any(token in result.content for token in own), "nor is its own shown to the agent"
        refused = await made.use(cleo)
        assert (refused.is_error, "There is no secret TEST_ACCESS_TOKEN for this customer" in refused.content) == (
            True,
            True,
        )
        async with made.scene.client() as client:
            assert (await until_replied(client, anna))[-2]["text"] == "Thank you.", "the agent was told"

    play(scenario, address, tmp_path)


def test_an_account_is_listed_and_disconnected_by_the_agents_owner(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(made: Connected) -> None:
        sessions = {name: (await made.client.open_session("support", customer=name)).id for name in ("anna", "ben")}
        for session in sessions.values():
            await made.connect(session)
        numbers = {one.customer: one.id async for one in made.client.customers()}
        (listed,) = await made.client.accounts(numbers["anna"])
        assert (listed.provider, listed.is_lost) == ("test", False)
        await made.client.disconnect_account(numbers["anna"], "test")
        assert await made.client.accounts(numbers["anna"]) == []
        assert (await made.use(sessions["anna"])).is_error
        assert not (await made.use(sessions["ben"])).is_error
        async with made.scene.client(await made.scene.key(agents=["sales"])) as sales:
            for path in (f"/customers/{numbers['ben']}/accounts", f"/sessions/{sessions['ben']}"):
                assert (await sales.get(path)).status_code == 404
            wanted = await sales.post(f"/sessions/{sessions['ben']}/accounts", json={"provider": "test"})
            assert wanted.status_code == 404
        async with made.scene.client() as client:
            missing = await client.post(f"/sessions/{sessions['ben']}/accounts", json={"provider": "none"})
            assert (missing.status_code, "There are: test" in missing.json()["detail"]) == (404, True)

    play(scenario, address, tmp_path)
