"""`subclaw policy` against a real PostgreSQL: rules, the log, dry runs and quotas, and mistakes told in words."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.real.test_egress_rules import make_tenants
from tests.real.test_plans import settings_for, shown
from typer.testing import CliRunner

from subclaw.app.before import keep_agent_rules
from subclaw.cli import cli
from subclaw.commands.dry_run import dry_run_file
from subclaw.commands.owners import Owner, parse_owner
from subclaw.commands.policy import add, list_log, list_policy, parse_mode, parse_since, quota, remove
from subclaw.core.agent import AgentEgress
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.quota import Quota
from subclaw.core.secret import Binding
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount, TenantPolicy
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.egress_log import record
from subclaw.store.secrets import save_bound_secret
from subclaw.store.tenant_egress import load_policy

EVERYBODY = Owner(scope=Scope.OPERATOR)
NOW = datetime.now(UTC)


def policy(address: DatabaseAddress, tenant_id: TenantId) -> TenantPolicy:
    async def main() -> TenantPolicy:
        async with open_database(address, Role.EGRESS, size=1) as egress:
            return await load_policy(egress, tenant_id)

    return asyncio.run(main())


def log(address: DatabaseAddress, *decisions: DecisionCount) -> None:
    async def main() -> None:
        async with open_database(address, Role.EGRESS, size=1) as egress:
            await record(egress, decisions)

    asyncio.run(main())


def asked(tenant_id: TenantId, host: str, path: str = "/", *, allowed: bool = True, count: int = 1) -> DecisionCount:
    return DecisionCount(
        tenant_id=tenant_id,
        host=host,
        port=443,
        method="GET" if path else "",
        path=path,
        allowed=allowed,
        mode="inspect",
        reason="" if allowed else "denied",
        count=count,
        sent_bytes=1,
        received_bytes=2,
        last_at=NOW,
    )


def rows_of(command: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(shown(command))
    return rows


def listed(address: DatabaseAddress, tenant: str | None = None) -> list[dict[str, Any]]:
    settings = settings_for(address)
    return rows_of(lambda console: list_policy(settings, console, tenant=tenant, as_json=True))


def dry_run(address: DatabaseAddress, file: Path, text: str, tenant: str | None = None) -> list[dict[str, Any]]:
    file.write_text(text)
    settings = settings_for(address)
    return rows_of(lambda console: dry_run_file(settings, console, file, tenant=tenant, days=30, as_json=True))


def test_rules_are_added_listed_and_removed(address: DatabaseAddress) -> None:
    mine, _ = make_tenants(address, 2)
    settings = settings_for(address)
    rule = Rule(
        host="API.test", ports=(8443,), methods=("get",), paths=("/v1/*",), addresses=("10.0.0.5",), comment="ours"
    )
    said = shown(lambda console: add(settings, console, rule, EVERYBODY))
    assert said == "api.test is allowed (inspect) for all tenants: rule 1.\n"
    denied = Rule(host="*.evil.test", mode=Mode.DENY)
    said = shown(lambda console: add(settings, console, denied, parse_owner("tenant-1", False)))
    assert said == "*.evil.test is denied for the tenant tenant-1: rule 2.\n"
    shown(lambda console: add(settings, console, Rule(host="b.test", mode=Mode.SPLICE), parse_owner(None, True)))
    assert listed(address)[0] == {
        "id": 1,
        "scope": "operator",
        "tenant": "",
        "mode": "inspect",
        "host": "api.test",
        "ports": "8443",
        "methods": "GET",
        "paths": "/v1/*",
        "at": "10.0.0.5",
        "tools": "",
        "by": "operator",
        "comment": "ours",
    }
    assert [(row["id"], row["scope"], row["tenant"]) for row in listed(address)] == [
        (1, "operator", ""),
        (3, "agent", ""),
        (2, "tenant", "tenant-1"),
    ]
    assert [row["id"] for row in listed(address, "tenant-2")] == [1, 3]
    assert [rule.host for rule in policy(address, mine).rules] == ["api.test", "*.evil.test", "b.test"]
    assert shown(lambda console: remove(settings, console, 1)) == "Rule 1 is removed.\n"
    with pytest.raises(NotFound, match="no rule 1"):
        shown(lambda console: remove(settings, console, 1))


def test_the_table_says_whether_the_list_of_subclaws_own_is_allowed(address: DatabaseAddress) -> None:
    settings = settings_for(address)
    text = shown(lambda console: list_policy(settings, console, tenant=None, as_json=False))
    assert text.startswith("There are no rules.\nThe list that subclaw comes with is allowed, ")
    asyncio.run(keep_agent_rules(settings, AgentEgress(rules=(Rule(host="a.test", scope=Scope.AGENT),), starter=False)))
    text = shown(lambda console: list_policy(settings, console, tenant=None, as_json=False))
    assert "agent.toml" in text.splitlines()[1]
    assert "is not allowed" in text.splitlines()[2]


def test_what_is_allowed_in_vain_is_told(address: DatabaseAddress) -> None:
    settings = settings_for(address)
    shown(lambda console: add(settings, console, Rule(host="*.evil.test", mode=Mode.DENY), EVERYBODY))
    said = shown(lambda console: add(settings, console, Rule(host="x.evil.test"), EVERYBODY))
    assert "Rule 1 denies x.evil.test, whatever is allowed: subclaw policy remove 1\n" in said


@pytest.mark.parametrize(
    ("rule", "owner", "words"),
    [
        (Rule(host="10.0.0.5"), EVERYBODY, "That is an address"),
        (Rule(host="a.test", addresses=("10.0.0",)), EVERYBODY, "'10.0.0' is no IP address"),
        (Rule(host="a.test", addresses=("169.254.169.254",)), EVERYBODY, "no address at which a host can be"),
        (Rule(host="a.test", addresses=("10.0.0.5",)), parse_owner(None, True), "Only a rule of the operator's"),
        (Rule(host="a.test"), Owner(scope=Scope.OPERATOR, tools="No Id"), "'No Id' is no agent's id"),
        (Rule(host="a.test", addresses=("10.0.0.5",), mode=Mode.DENY), EVERYBODY, "Only a rule of the operator's"),
        (Rule(host="a.test", methods=("GET",), mode=Mode.SPLICE), EVERYBODY, "neither methods nor paths"),
        (Rule(host="a.test", comment="x" * 501), EVERYBODY, "at most 500 characters"),
    ],
)
def test_rules_that_cannot_be_are_told_in_words(address: DatabaseAddress, rule: Rule, owner: Owner, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        shown(lambda console: add(settings_for(address), console, rule, owner))
    assert words in caught.value.public
    assert listed(address) == []


def test_the_log_is_listed_the_newest_first(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)
    settings = settings_for(address)
    before = replace(asked(theirs, "b.test", "/[bold]x[/y]", allowed=False, count=3), last_at=NOW - timedelta(hours=3))
    log(address, before, asked(mine, "a.test"))

    def read(tenant: str | None, since: str, only_denied: bool = False) -> list[tuple[str, int]]:
        rows = rows_of(
            lambda console: list_log(
                settings,
                console,
                tenant=tenant,
                only_denied=only_denied,
                since=parse_since(since),
                limit=10,
                as_json=True,
            )
        )
        return [(row["host"], row["count"]) for row in rows]

    assert read(None, "24h") == [("a.test", 1), ("b.test", 3)]
    assert read(None, "60m") == [("a.test", 1)]
    assert read(None, "1d", only_denied=True) == read("tenant-2", "1d") == [("b.test", 3)]
    table = shown(
        lambda console: list_log(
            settings, console, tenant=None, only_denied=True, since=parse_since("1d"), limit=9, as_json=False
        )
    )
    assert "/[bold]x[/y]" in table


@pytest.mark.parametrize("text", ["", "24", "0h", "-1h", "1w", "31d", "9" * 20 + "h", "\u0661h"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(Invalid, match="such as 90m, 24h or 7d"):
        parse_since(text)


def test_modes_that_are_none() -> None:
    assert parse_mode("splice") is Mode.SPLICE
    for text in ("deny", "open", ""):
        with pytest.raises(Invalid, match="inspect, splice or inject"):
            parse_mode(text)


def test_a_dry_run_says_what_a_policy_would_have_changed(address: DatabaseAddress, tmp_path: Path) -> None:
    mine, theirs = make_tenants(address, 2)
    settings = settings_for(address)
    asyncio.run(keep_agent_rules(settings, AgentEgress(rules=(Rule(host="old.test", scope=Scope.AGENT),))))
    shown(lambda console: add(settings, console, Rule(host="kept.test"), EVERYBODY))
    log(
        address,
        asked(mine, "old.test", "/a", count=2),
        asked(theirs, "old.test", "/a", count=5),
        asked(mine, "kept.test"),
        asked(mine, "pypi.org", "/simple/x/"),
        asked(mine, "new.test", "/v1/x", allowed=False),
        asked(mine, "new.test", "/v2/x", allowed=False),
        asked(mine, "bound.test", allowed=True),
    )

    async def bind() -> None:
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            await save_bound_secret(
                operator,
                name="KEY",
                scope=Scope.TENANT,
                tenant_id=mine,
                placeholder="placeholder-of-key",
                binding=Binding(hosts=("bound.test",)),
                sealed=b"",
            )

    asyncio.run(bind())
    file = tmp_path / "policy.toml"
    text = 'allow = [{host = "new.test", paths = ["/v1/*"]}]\nstarter = '
    stopped = {"change": "stopped", "host": "old.test", "port": 443, "method": "GET", "path": "/a"}
    let_through = {"change": "let through", "host": "new.test", "port": 443, "method": "GET", "path": "/v1/x"}
    when = NOW.strftime("%Y-%m-%dT%H:%MZ")
    assert dry_run(address, file, f"{text} true") == [
        stopped
        | {"count": 7, "tenants": 2, "last": when}
        | {"reason": "old.test is not on the list of hosts that may be reached"},
        let_through | {"count": 1, "tenants": 1, "last": when, "reason": ""},
    ]
    without = dry_run(address, file, f"{text} false", "tenant-1")
    assert [(row["host"], row["count"]) for row in without] == [("old.test", 2), ("pypi.org", 1), ("new.test", 1)]
    same = dry_run(address, file, 'allow = [{host = "old.test"}]')
    assert same == []
    with pytest.raises(Invalid, match="no host for a rule"):
        dry_run(address, file, 'allow = [{host = "x"}]')


def test_quotas_are_said_and_set(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)
    settings = settings_for(address)

    def change(tenant: str | None, *given: tuple[str, str]) -> str:
        return shown(lambda console: quota(settings, console, tenant=tenant, change=given))

    assert change(None) == (
        "For each tenant that has no quota of its own: 600 requests a minute, 256 connections at a time, "
        "10,737,418,240 bytes a day.\n"
    )
    change(None, ("connections", "50"), ("bytes_per_day", "1000"))
    assert "For the tenant tenant-1: 5 requests a minute, 50 connections" in change(
        "tenant-1", ("requests_per_minute", "5")
    )
    assert policy(address, mine).quota == Quota(requests_per_minute=5, connections=50, bytes_per_day=1_000)
    change(None, ("bytes_per_day", "default"))
    assert policy(address, theirs).quota == Quota(connections=50)


@pytest.mark.parametrize("text", ["many", "-1", "1.5", str(2**31), "9" * 30])
def test_numbers_that_are_none(address: DatabaseAddress, text: str) -> None:
    with pytest.raises(Invalid, match="no whole number for connections"):
        shown(lambda console: quota(settings_for(address), console, tenant=None, change=[("connections", text)]))


@pytest.mark.parametrize("name", ["list", "quota", "log"])
def test_whoever_is_not_there_has_no_policy(address: DatabaseAddress, name: str) -> None:
    result = CliRunner().invoke(cli, ["policy", name, "--tenant", "nobody"], env={"DATABASE_URL": address.url})
    assert isinstance(result.exception, NotFound)


def test_the_command_line(address: DatabaseAddress, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("")

    def typed(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["policy", *arguments], env={"DATABASE_URL": address.url})
        assert result.exit_code == 0, result.output
        return result.output

    allow: Sequence[str] = ("allow", "*.a.test", "--port", "443,8443", "--methods", "get,post", "--paths", "/x/*")
    assert typed(*allow, "--mode", "inject", "--comment", "theirs") == (
        "*.a.test is allowed (inject) for all tenants: rule 1.\n"
    )
    assert "rule 2" in typed("allow", "in.a.test", "--address", "10.0.0.5", "--address", "10.0.0.6")
    assert "rule 3" in typed("deny", "evil.test", "--agent")
    (first, second, third) = json.loads(typed("list", "--json"))
    assert (first["ports"], first["methods"], first["paths"]) == ("443, 8443", "GET, POST", "/x/*")
    assert (second["at"], third["scope"], third["mode"]) == ("10.0.0.5, 10.0.0.6", "agent", "deny")
    assert "Rule 3 is removed" in typed("remove", "3")
    assert json.loads(typed("log", "--denied", "--since", "7d", "--json")) == []
    assert "would have changed nothing" in typed("dry-run", str(file), "--days", "7")
    assert "5 connections at a time" in typed("quota", "--connections", "5")
