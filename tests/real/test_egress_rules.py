"""Egress rules and quotas in a real PostgreSQL: whose they are, what a tenant's policy is, who hears of a change."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import psycopg
import pytest
from tests.budgets import owner_rows

from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.quota import Quota
from subclaw.core.quota_setting import QuotaSetting
from subclaw.core.secret import Binding
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import TenantPolicy
from subclaw.store import egress_rules
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.egress_quotas import quota_setting, set_quota
from subclaw.store.egress_rules import add_rule, list_rules, remove_rule, replace_agent_rules
from subclaw.store.secrets import mark_used, placeholders, save_bound_secret
from subclaw.store.tenant_egress import listen_changes, load_policy

OPEN = Rule(host="api.test")
FULL = Rule(
    host="*.git.test",
    ports=(443, 8443),
    methods=("GET", "POST"),
    paths=("/v1/*", "/{owner}/x"),
    mode=Mode.SPLICE,
    addresses=("10.0.0.5",),
    comment="the company's own",
)
OWN = replace(OPEN, host="own.test", scope=Scope.TENANT)

Scenario = Callable[[Database, Database, Database], Awaitable[None]]


def run(scenario: Scenario, address: DatabaseAddress) -> None:
    """Run a scenario with the database open as the operator, the application and the gateway."""

    async def main() -> None:
        async with (
            open_database(address, Role.OPERATOR, size=1) as operator,
            open_database(address, Role.APP, size=1) as app,
            open_database(address, Role.EGRESS, size=1) as egress,
        ):
            await scenario(operator, app, egress)

    asyncio.run(main())


def make_tenants(address: DatabaseAddress, count: int) -> list[TenantId]:
    query = "INSERT INTO tenant (name) SELECT 'tenant-' || n FROM generate_series(1, %s) n RETURNING id"
    return [TenantId(int(str(id))) for (id,) in owner_rows(address, query, count)]


def test_a_new_database_allows_what_subclaw_comes_with(address: DatabaseAddress) -> None:
    (tenant,) = make_tenants(address, 1)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        assert await load_policy(egress, tenant) == TenantPolicy(starter=True)

    run(scenario, address)


def test_what_is_for_the_tools_of_an_agent_only_its_customers_have(address: DatabaseAddress) -> None:
    person, customer, other = make_tenants(address, 3)
    for agent, tenant in (("support", customer), ("sales", other)):
        owner_rows(address, "INSERT INTO agent (id) VALUES (%s) RETURNING id", agent)
        owner_rows(address, "UPDATE tenant SET agent = %s, customer = 'c' WHERE id = %s RETURNING id", agent, tenant)
    rule = replace(FULL, tools="support")
    binding = Binding(hosts=("inner.test",), tools="support")

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await add_rule(operator, rule, tenant_id=None, created_by="operator")
        await save_bound_secret(
            operator,
            name="SHOP_KEY",
            scope=Scope.OPERATOR,
            tenant_id=None,
            placeholder="p" * 20,
            binding=binding,
            sealed=b"",
        )
        policy = await load_policy(egress, customer)
        assert (policy.rules, [secret.binding for secret in policy.secrets]) == ((rule,), [binding])
        assert await placeholders(app, customer) == {"SHOP_KEY": "p" * 20}
        for tenant in (person, other):
            assert await load_policy(egress, tenant) == TenantPolicy(starter=True)
            assert await placeholders(app, tenant) == {}
            assert await list_rules(operator, tenant, limit=10) == ()
        with pytest.raises(psycopg.errors.CheckViolation):
            owner_rows(address, "UPDATE egress_rule SET scope = 'agent', addresses = '{}' RETURNING id")

    run(scenario, address)


def test_a_tenants_policy_has_its_own_rules_and_everybodys(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)
    agents = replace(OPEN, host="agent.test", scope=Scope.AGENT)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await add_rule(operator, FULL, tenant_id=None, created_by="operator")
        await add_rule(app, OWN, tenant_id=mine, created_by="user")
        await add_rule(app, OWN, tenant_id=theirs, created_by="user")
        await replace_agent_rules(operator, [agents], starter=False)
        assert await load_policy(egress, mine) == TenantPolicy(rules=(FULL, OWN, agents), starter=False)
        listed = await list_rules(operator, limit=10)
        assert [(kept.rule, kept.tenant_name, kept.created_by) for kept in listed] == [
            (FULL, "", "operator"),
            (agents, "", "agent.toml"),
            (OWN, "tenant-1", "user"),
            (OWN, "tenant-2", "user"),
        ]
        assert [kept.tenant_id for kept in await list_rules(app, mine, limit=10)] == [mine]
        assert len(await list_rules(operator, mine, limit=10)) == 3

    run(scenario, address)


def test_the_agents_file_replaces_what_it_said_before_and_nothing_else(address: DatabaseAddress) -> None:
    (tenant,) = make_tenants(address, 1)
    first, second = (replace(OPEN, host=host, scope=Scope.AGENT) for host in ("first.test", "second.test"))

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await add_rule(operator, replace(first, host="made.test"), tenant_id=None, created_by="operator")
        await replace_agent_rules(operator, [first], starter=True)
        await replace_agent_rules(operator, [second], starter=True)
        found = await load_policy(egress, tenant)
        assert ([rule.host for rule in found.rules], found.starter) == (["made.test", "second.test"], True)

    run(scenario, address)


def test_in_a_tenants_name_its_own_rules_alone_are_made_and_removed(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        by_operator = await add_rule(operator, replace(OWN, mode=Mode.DENY), tenant_id=mine, created_by="operator")
        for_all = await add_rule(operator, OPEN, tenant_id=None, created_by="operator")
        of_theirs = await add_rule(app, OWN, tenant_id=theirs, created_by="user")
        for id in (by_operator, for_all, of_theirs):
            with pytest.raises(NotFound):
                await remove_rule(app, id, tenant_id=mine)
        for rule, tenant_id, created_by in ((OPEN, None, "user"), (OWN, mine, "operator")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await add_rule(app, rule, tenant_id=tenant_id, created_by=created_by)
        await remove_rule(app, of_theirs, tenant_id=theirs)
        await remove_rule(operator, by_operator)
        with pytest.raises(NotFound, match=f"no rule {by_operator}"):
            await remove_rule(operator, by_operator)

    run(scenario, address)


def test_a_tenant_has_a_bounded_number_of_rules(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = make_tenants(address, 2)
    monkeypatch.setattr(egress_rules, "RULE_LIMITS", {Scope.TENANT: 2})

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        for _ in range(2):
            await add_rule(app, OWN, tenant_id=mine, created_by="user")
        with pytest.raises(Exhausted, match="2 such rules"):
            await add_rule(app, OWN, tenant_id=mine, created_by="user")
        await add_rule(app, OWN, tenant_id=theirs, created_by="user")

    run(scenario, address)


@pytest.mark.parametrize(
    ("scope", "tenant", "columns"),
    [
        ("tenant", None, {}),
        ("operator", 1, {}),
        ("agent", None, {"addresses": ["10.0.0.1"]}),
        ("operator", None, {"host": "api.test/x"}),
        ("operator", None, {"ports": []}),
        ("operator", None, {"ports": [0]}),
        ("operator", None, {"ports": [65_536]}),
        ("operator", None, {"mode": "open"}),
    ],
)
def test_the_table_refuses_what_is_no_rule(
    address: DatabaseAddress, scope: str, tenant: int | None, columns: dict[str, object]
) -> None:
    make_tenants(address, 1)
    row = {"host": "api.test", "ports": [443], "mode": "inspect", "addresses": [], **columns}
    insert = (
        "INSERT INTO egress_rule (scope, tenant_id, host, ports, mode, addresses, created_by)"
        " VALUES (%s::egress_scope, %s, %s, %s, %s, %s::text[], 'operator')"
    )
    values = (scope, tenant, row["host"], row["ports"], row["mode"], row["addresses"])
    with pytest.raises(psycopg.errors.CheckViolation):
        owner_rows(address, insert, *values)


def test_a_quota_is_the_tenants_else_everybodys_else_as_it_is_by_itself(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await set_quota(operator, None, QuotaSetting(connections=10, bytes_per_day=1_000))
        await set_quota(operator, mine, QuotaSetting(connections=500, requests_per_minute=5))
        assert (await load_policy(egress, mine)).quota == Quota(
            requests_per_minute=5, connections=500, bytes_per_day=1_000
        )
        assert (await load_policy(egress, theirs)).quota == Quota(connections=10, bytes_per_day=1_000)
        await set_quota(operator, mine, QuotaSetting(connections=0))
        assert (await load_policy(egress, mine)).quota == Quota(connections=0, bytes_per_day=1_000)
        assert await quota_setting(operator, mine) == QuotaSetting(connections=0)
        assert await quota_setting(operator, theirs) == QuotaSetting()

    run(scenario, address)


def test_changes_are_heard_of_and_uses_are_not(address: DatabaseAddress) -> None:
    (mine,) = make_tenants(address, 1)
    heard: asyncio.Queue[TenantId | None] = asyncio.Queue()

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        listening = asyncio.create_task(listen_changes(address, heard.put_nowait))
        async with asyncio.timeout(30):
            assert await heard.get() is None, "it has just begun to listen"
            id = await add_rule(app, OWN, tenant_id=mine, created_by="user")
            assert await heard.get() == mine
            await add_rule(operator, OPEN, tenant_id=None, created_by="operator")
            assert await heard.get() is None
            secret = await save_bound_secret(
                app,
                name="KEY",
                scope=Scope.TENANT,
                tenant_id=mine,
                placeholder="p" * 20,
                binding=Binding(hosts=("api.test",)),
                sealed=b"seal",
            )
            assert await heard.get() == mine
            await mark_used(egress, [secret])
            await replace_agent_rules(operator, [], starter=True)
            await set_quota(operator, mine, QuotaSetting(connections=3))
            assert await heard.get() == mine, "neither a use nor a file that says what it said is a change"
            await replace_agent_rules(operator, [], starter=False)
            assert await heard.get() is None
            await remove_rule(operator, id)
            assert await heard.get() == mine
            owner_rows(address, "DELETE FROM tenant WHERE id = %s", mine)
            assert await heard.get() == mine
        listening.cancel()

    run(scenario, address)


def test_whoever_listens_connects_again_and_says_that_anything_may_have_changed(address: DatabaseAddress) -> None:
    heard: asyncio.Queue[TenantId | None] = asyncio.Queue()

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        listening = asyncio.create_task(listen_changes(address, heard.put_nowait))
        async with asyncio.timeout(30):
            assert await heard.get() is None
            owner_rows(
                address,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'LISTEN%%' AND datname = current_database() AND %s",
                True,
            )
            assert await heard.get() is None
            await add_rule(operator, OPEN, tenant_id=None, created_by="operator")
            assert await heard.get() is None
        listening.cancel()

    run(scenario, address)
