"""The audit log of tools in a real PostgreSQL: limits that hold for whoever comes at once, and what is kept."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console

from subclaw.business.enforcement import enforced
from subclaw.business.package import read_package
from subclaw.business.policy import read_tool_policy
from subclaw.business.tools import sessions_in
from subclaw.commands.tool_audit import dry_run_tools, list_tool_decisions
from subclaw.config import load_settings
from subclaw.core.business import CustomerSession
from subclaw.core.errors import Denied, SubclawError
from subclaw.core.tool import Caller
from subclaw.core.tool_policy import Effect
from subclaw.store.agents import apply
from subclaw.store.customers import open_session
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.tool_audit import StoreToolAudit, prune_tool_decisions, recent_tool_decisions
from subclaw.tools.toolbox import Tool, define

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICY = """
[tools.refund]
require = ["amount > 0"]
approve_if = ["amount > 50"]
per_customer = "5/minute"
per_agent = "8/hour"
sum_per_day = { amount = 100 }

[tools.free]
"""


class Scene:
    """A refund's tool behind a policy, the sessions of two customers, and a clock."""

    def __init__(self, app: Database, operator: Database, anna: CustomerSession, ben: CustomerSession) -> None:
        self.app, self.operator, self.anna, self.ben = app, operator, anna, ben
        self.now, self.done = NOON, list[Any]()
        self._conversations: dict[int, int] = {}
        self.number = 0

    def tools(self, policy: str) -> dict[str, Tool]:
        """Return the tools."""

        async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
            self.done.append((caller.tenant_id, dict(arguments)))
            return "done"

        made = [
            Tool(definition=define("refund", "Pay.", idempotent=False, amount={"type": "number"}), perform=perform),
            Tool(definition=define("free", "Do.", idempotent=False), perform=perform),
        ]
        found = enforced(
            read_tool_policy({"policy.toml": policy.encode()}),
            made,
            session_of=sessions_in(self.app),
            audit=StoreToolAudit(self.app),
            clock=lambda: self.now,
        )
        return {tool.definition.name: tool for tool in found}

    async def call(
        self, name: str, session: CustomerSession, policy: str = POLICY, call_id: str = "", **arguments: Any
    ) -> bool:
        """Make a call; return whether it was let through."""
        try:
            await self.tools(policy)[name].perform(await self.caller(session, call_id), arguments)
        except Denied:
            return False
        return True

    async def caller(self, session: CustomerSession, call_id: str = "") -> Caller:
        """Return who calls."""
        self.number += 1
        call_id = call_id or f"call_{self.number}"
        ((conversation_id,),) = await self.operator.rows(
            "SELECT id FROM conversation WHERE tenant_id = %s", session.tenant_id
        )
        return Caller(
            tenant_id=session.tenant_id,
            conversation_id=conversation_id,
            call_id=call_id,
            turn_id="turn_1",
        )


def run(address: DatabaseAddress, scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with (
            open_database(address, Role.APP) as app,
            open_database(address, Role.OPERATOR, size=1) as operator,
        ):
            await apply(operator, read_package({"agent.toml": b'id = "support"\n', "instructions.md": b"Help."}))
            anna = await open_session(app, "support", "anna", {"token": "canary-token"})
            ben = await open_session(app, "support", "ben", {})
            await scenario(Scene(app, operator, anna, ben))

    asyncio.run(main())


def test_a_customers_rate_and_daily_sum_hold_for_calls_at_once(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        let = await asyncio.gather(*(scene.call("refund", scene.anna, amount=1) for _ in range(20)))
        assert sum(let) == 5
        scene.now = NOON + timedelta(minutes=2)
        assert not await scene.call("refund", scene.anna, amount=96)
        assert await scene.call("refund", scene.anna, amount=45.5)
        assert await scene.call("refund", scene.ben, amount=45.5)
        assert len(scene.done) == 7

    run(address, scenario)


def test_an_agents_rate_holds_for_all_customers_together(address: DatabaseAddress) -> None:
    policy = '[tools.refund]\nper_agent = "8/hour"\n'

    async def scenario(scene: Scene) -> None:
        sessions = [scene.anna, scene.ben] * 10
        let = await asyncio.gather(*(scene.call("refund", each, policy, amount=1) for each in sessions))
        assert sum(let) == 8
        scene.now = NOON + timedelta(minutes=61)
        assert await scene.call("refund", scene.ben, policy, amount=1)

    run(address, scenario)


def test_a_call_that_was_interrupted_counts_once(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        for _ in range(6):
            assert await scene.call("refund", scene.anna, call_id="call_same", amount=30)
        assert await scene.call("refund", scene.anna, amount=50)
        assert not await scene.call("refund", scene.anna, amount=30)

    run(address, scenario)


def test_what_has_to_be_approved_is_decided_on_before_anybody_is_asked_and_again_after(
    address: DatabaseAddress,
) -> None:
    async def scenario(scene: Scene) -> None:
        refund = scene.tools(POLICY)["refund"]
        assert refund.must_be_approved({"amount": 51})
        assert not refund.must_be_approved({"amount": 50})
        assert await refund.settle(await scene.caller(scene.anna), {"amount": 51}) is None
        with pytest.raises(Denied, match="limit of 100"):
            await refund.settle(await scene.caller(scene.anna), {"amount": 101})
        assert await scene.call("refund", scene.anna, amount=60)
        with pytest.raises(SubclawError):
            await refund.settle(await scene.caller(scene.anna), {"amount": 51})
        found = await recent_tool_decisions(
            scene.operator, "support", since=NOON, customer="anna", only_denied=False, limit=10
        )
        assert [each.decided.effect for each in found] == [Effect.DENY, Effect.ALLOW, Effect.DENY, Effect.APPROVE]
        assert [each.decided.approved for each in found] == [False, True, False, False]

    run(address, scenario)


def test_arguments_are_kept_in_the_clear_only_if_the_policy_says_so(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.call("free", scene.anna, note="canary-argument")
        with psycopg.connect(address.url) as owner:
            rows = str(owner.execute("SELECT t.*::text FROM tool_decision t").fetchall())
        assert "canary" not in rows
        assert "note" in rows
        await scene.call("free", scene.anna, POLICY + "\n[audit]\narguments = true\n", note="canary-argument\0")
        found = await recent_tool_decisions(
            scene.operator, "support", since=NOON, customer=None, only_denied=False, limit=10
        )
        assert [each.decided.arguments for each in found] == [{"note": "canary-argument\ufffd"}, None]

    run(address, scenario)


def test_a_caller_of_another_tenant_finds_no_session_and_decides_nothing(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        anna, ben = await scene.caller(scene.anna), await scene.caller(scene.ben)
        crossed = Caller(
            tenant_id=ben.tenant_id, conversation_id=anna.conversation_id, call_id="call_x", turn_id="turn_1"
        )
        with pytest.raises(Denied, match="customer's session"):
            await scene.tools(POLICY)["free"].perform(crossed, {})
        assert scene.done == []

    run(address, scenario)


def test_old_decisions_are_forgotten_and_later_ones_by_nobody(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        scene.now = datetime.now(UTC) - timedelta(days=31)
        await scene.call("free", scene.anna)
        scene.now = datetime.now(UTC) - timedelta(days=29)
        await scene.call("free", scene.anna)
        assert await prune_tool_decisions(scene.app) == 1
        with psycopg.connect(address.conninfo(Role.APP), autocommit=True) as app:
            app.execute("SELECT set_config('subclaw.tenant', %s, false)", [str(scene.anna.tenant_id)])
            for attempt in ("DELETE FROM tool_decision", "UPDATE tool_decision SET effect = 'deny'"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(attempt)

    run(address, scenario)


def test_the_operator_sees_decisions_and_what_another_policy_would_have_changed(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    settings = replace(load_settings({"DATABASE_URL": address.url}), home=tmp_path / "home")
    file = tmp_path / "policy.toml"
    file.write_text('[tools.refund]\nrequire = ["amount <= 10"]\n[tools.free]\neffect = "deny"\n')

    async def scenario(scene: Scene) -> None:
        scene.now = datetime.now(UTC)
        kept = POLICY + "\n[audit]\narguments = true\n"
        assert await scene.call("refund", scene.anna, kept, amount=20)
        assert await scene.call("refund", scene.anna, kept, amount=5)
        assert not await scene.call("refund", scene.anna, kept, amount=-1)
        assert await scene.call("free", scene.ben)
        output = io.StringIO()
        console = Console(file=output, width=200)
        await list_tool_decisions(
            settings, console, "support", customer="anna", only_denied=True, days=1, limit=10, as_json=True
        )
        (row,) = json.loads(output.getvalue())
        assert (row["tool"], row["effect"], row["reason"]) == ("refund", "deny", "it is required that amount > 0")
        output.truncate(output.seek(0))
        await dry_run_tools(settings, console, "support", file, days=1, as_json=True)
        changes = {(row["tool"], row["was"], row["would be"]): row["count"] for row in json.loads(output.getvalue())}
        assert changes == {
            ("refund", "allow", "deny"): 1,
            ("free", "allow", "deny"): 1,
            ("refund", "deny", "allow"): 1,
        }

    run(address, scenario)
