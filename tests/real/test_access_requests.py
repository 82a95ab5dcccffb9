"""Where only the operator opens hosts: agents ask, the operator decides by commands, and the agents go on."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rich.console import Console
from tests.real.access_scene import Scene, play
from tests.real.test_plans import settings_for
from typer.testing import CliRunner, Result

from subclaw.cli import cli
from subclaw.commands.access_requests import approve, list_requests, refuse
from subclaw.core.access import WAITING_LIMIT
from subclaw.core.agent import Access
from subclaw.core.errors import Exhausted, Invalid, NotFound
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.store.access_requests import decide_request
from subclaw.store.database import DatabaseAddress, Role, connect
from subclaw.store.egress_rules import RULE_LIMITS, add_rule, list_rules
from subclaw.testing.models import ScriptedModel, calls, words

WANTED = {"host": "api.weather.test", "methods": ["get"], "paths": ["/v1/*"], "reason": "to read\nthe \x1b[31mweather"}


def ask(**arguments: object) -> tuple[str, str]:
    return "ask_for_access", json.dumps({"reason": "to read the weather", **arguments})


def by_operator(steps: Callable[[Scene], Awaitable[None]], address: DatabaseAddress, *replies: Any) -> None:
    play(steps, address, ScriptedModel(list(replies)), access=Access.OPERATOR)


async def said(command: Callable[[Console], Awaitable[None]]) -> str:
    """Return what a command prints."""
    output = io.StringIO()
    await command(Console(file=output, width=200))
    return output.getvalue()


async def waiting(scene: Scene) -> list[dict[str, Any]]:
    text = await said(lambda console: list_requests(settings_for(scene.address), console, as_json=True))
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


async def owner_does(scene: Scene, statement: str) -> None:
    async with await connect(scene.address, Role.OWNER) as connection:
        await connection.execute(statement)


def test_the_operator_allows_what_an_agent_asks_for_and_it_goes_on(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        settings = settings_for(address)
        async with scene.worker():
            assert await scene.ask("the weather, please") == "I have asked"
            assert "The operator is asked to open api.weather.test" in scene.told()
            assert await scene.look("SELECT 1 FROM approval") == []
            (row,) = await waiting(scene)
            assert (row["host"], row["ports"], row["methods"], row["paths"]) == (WANTED["host"], "443", "GET", "/v1/*")
            assert row["reason"] == "to read the  [31mweather"
            shown = await said(lambda console: list_requests(settings, console, as_json=False))
            assert "to read the  [31mweather" in shown
            told = await said(lambda console: approve(settings, console, row["id"]))
            assert told == f"api.weather.test is allowed for the tenant {row['tenant']}; its agent goes on.\n"
            assert (await scene.until_replies(2))[1] == "it is sunny"
        assert "The operator has allowed what you asked for: GET requests to api.weather.test" in scene.told()
        (kept,) = await list_rules(scene.operator, limit=9)
        assert (kept.rule.host, kept.rule.methods, kept.rule.paths) == ("api.weather.test", ("GET",), ("/v1/*",))
        assert (kept.rule.scope, kept.rule.mode, kept.created_by) == (Scope.TENANT, Mode.INSPECT, "operator")
        assert await waiting(scene) == []
        with pytest.raises(NotFound):
            await said(lambda console: approve(settings, console, row["id"]))

    by_operator(steps, address, calls(ask(**WANTED)), words("I have asked"), words("it is sunny"))


def test_a_refusal_is_told_with_its_reason(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        settings = settings_for(address)
        async with scene.worker():
            await scene.ask("the weather, please")
            (row,) = await waiting(scene)
            with pytest.raises(Invalid):
                await said(lambda console: refuse(settings, console, row["id"], "x" * 301))
            with pytest.raises(Invalid):
                await said(lambda console: refuse(settings, console, row["id"], "a\x1bb"))
            await said(lambda console: refuse(settings, console, row["id"], "we have\nour own"))
            await scene.until_replies(2)
        assert "refused what you asked for: a.test (port 8443). They say: we have our own Go on" in scene.told()
        assert await list_rules(scene.operator, limit=9) == ()
        with pytest.raises(NotFound):
            await said(lambda console: refuse(settings, console, row["id"], ""))

    by_operator(steps, address, calls(ask(host="a.test", port=8443)), words("I have asked"), words("as you wish"))


def test_as_many_wait_as_may_each_once_and_not_for_ever(address: DatabaseAddress) -> None:
    hosts = [f"h{number}.test" for number in range(WAITING_LIMIT + 1)]

    async def steps(scene: Scene) -> None:
        async with scene.worker():
            await scene.ask("all of them")
            assert [row["host"] for row in await waiting(scene)] == hosts[:-1]
            assert f"{WAITING_LIMIT} requests wait for the operator already" in scene.told()
            await owner_does(scene, "UPDATE access_request SET expires_at = now()")
            assert await waiting(scene) == []
            with pytest.raises(NotFound):
                await decide_request(scene.operator, 1, approved=True)
            await scene.ask("the last one")
            assert [row["host"] for row in await waiting(scene)] == hosts[-1:]
            await owner_does(scene, "UPDATE access_request SET expires_at = now() - interval '31 days' WHERE id < 6")
            await scene.ask("once more")
        assert await scene.look("SELECT host FROM access_request") == [(hosts[-1],), ("other.test",)]

    by_operator(
        steps,
        address,
        calls(ask(host=hosts[0]), *(ask(host=host) for host in hosts)),
        words("I have asked"),
        calls(ask(host=hosts[-1])),
        words("again"),
        calls(ask(host="other.test")),
        words("and another"),
    )


def test_what_a_rule_denies_or_allows_is_not_put_to_the_operator(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.deny("*.denied.test")
        rule = Rule(host="open.test", scope=Scope.OPERATOR)
        await add_rule(scene.operator, rule, tenant_id=None, created_by="operator")
        async with scene.worker():
            await scene.ask("go")
        assert "denied by a rule of the operator" in scene.told()
        assert "open.test is allowed already" in scene.told()
        assert await waiting(scene) == []

    by_operator(steps, address, calls(ask(host="a.denied.test"), ask(host="open.test")), words("I see"))


def test_what_is_allowed_in_vain_or_too_much_is_told(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        settings = settings_for(address)
        async with scene.worker():
            await scene.ask("go")
            (one, other) = await waiting(scene)
            await scene.deny("a.test")
            told = await said(lambda console: approve(settings, console, one["id"]))
            assert "denies a.test, whatever is allowed" in told
            await scene.until_replies(2)
        await owner_does(
            scene,
            "INSERT INTO egress_rule (scope, tenant_id, host, ports, mode, created_by)"
            " SELECT 'tenant', 1, 'x', '{443}', 'inspect', 'user'"
            f" FROM generate_series(2, {RULE_LIMITS[Scope.TENANT]})",
        )
        with pytest.raises(Exhausted):
            await said(lambda console: approve(settings, console, other["id"]))
        assert await waiting(scene) == [other]

    by_operator(steps, address, calls(ask(host="a.test"), ask(host="b.test")), words("I have asked"), words("well"))


def test_two_who_decide_at_once_decide_once(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            await scene.ask("go")
        (row,) = await waiting(scene)
        decisions = (decide_request(scene.operator, row["id"], approved=bool(number % 2)) for number in range(6))
        outcomes = await asyncio.gather(*decisions, return_exceptions=True)
        assert sum(outcome is None for outcome in outcomes) == 1
        assert all(isinstance(outcome, NotFound) for outcome in outcomes if outcome is not None)
        assert await scene.look("SELECT count(*) FROM inbox WHERE provider_id LIKE 'access:%'") == [(1,)]

    by_operator(steps, address, calls(ask(host="a.test")), words("I have asked"))


@pytest.mark.parametrize("command", ["approve", "refuse"])
def test_the_command_line(address: DatabaseAddress, command: str) -> None:
    def typed(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["policy", *arguments], env={"DATABASE_URL": address.url})

    async def steps(scene: Scene) -> None:
        async with scene.worker():
            await scene.ask("go")

    assert typed("requests").output == "No agent waits for a host.\n"
    assert isinstance(typed(command, "1").exception, NotFound)
    by_operator(steps, address, calls(ask(host="a.test")), words("I have asked"))
    ((id, host),) = [(row["id"], row["host"]) for row in json.loads(typed("requests", "--json").output)]
    assert host == "a.test"
    assert typed(command, str(id), *(["--because", "no"] if command == "refuse" else [])).exit_code == 0
    assert typed("requests").output == "No agent waits for a host.\n"
