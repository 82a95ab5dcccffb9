"""Secrets for machines in a real PostgreSQL: whose they are, which one applies, and that nobody reads a seal back."""

import asyncio
from typing import Any

import psycopg
import pytest
from tests.budgets import owner_rows
from tests.real.test_egress_rules import make_tenants, run

from subclaw.core.errors import Conflict, Corrupt, Exhausted, NotFound
from subclaw.core.policy import Scope
from subclaw.core.secret import Binding, BoundSecret, Place
from subclaw.core.tenant import TenantId
from subclaw.store import secrets
from subclaw.store.database import Database, DatabaseAddress, Role, connect
from subclaw.store.secrets import existing_placeholder, list_secrets, mark_used, placeholders, remove_secret
from subclaw.store.tenant_egress import load_policy

BINDING = Binding(
    hosts=("api.test", "*.up.test"),
    ports=(443, 8443),
    methods=("GET",),
    paths=("/v1/*",),
    place=Place.QUERY,
    name="key",
    template="",
    plain=True,
)


async def save(
    database: Database, name: str, tenant_id: TenantId | None = None, scope: Scope | None = None, **fields: Any
) -> int:
    row: dict[str, Any] = {
        "placeholder": f"{name}-of-{scope or tenant_id}-1234567890123456",
        "binding": BINDING,
        "sealed": b"\0seal",
    } | fields
    scope = scope or (Scope.TENANT if tenant_id else Scope.OPERATOR)
    return await secrets.save_bound_secret(database, name=name, scope=scope, tenant_id=tenant_id, **row)


def test_a_secret_comes_back_to_the_gateway_as_it_was(address: DatabaseAddress) -> None:
    (tenant,) = make_tenants(address, 1)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        id = await save(app, "KEY", tenant, placeholder="placeholder-of-mine")
        expected = BoundSecret(
            id=id,
            name="KEY",
            scope=Scope.TENANT,
            tenant_id=tenant,
            placeholder="placeholder-of-mine",
            binding=BINDING,
            sealed=b"\0seal",
        )
        assert (await load_policy(egress, tenant)).secrets == (expected,)

    run(scenario, address)


def test_a_tenants_own_hides_the_agents_and_that_the_operators(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        for name in ("A", "B", "C"):
            await save(operator, name, scope=Scope.OPERATOR)
        for name in ("A", "B"):
            await save(operator, name, scope=Scope.AGENT)
        await save(app, "A", mine)
        await save(app, "D", theirs)
        for tenant, expected in (
            (
                mine,
                {
                    "A": f"A-of-{mine}-1234567890123456",
                    "B": "B-of-agent-1234567890123456",
                    "C": "C-of-operator-1234567890123456",
                },
            ),
            (
                theirs,
                {
                    "A": "A-of-agent-1234567890123456",
                    "B": "B-of-agent-1234567890123456",
                    "C": "C-of-operator-1234567890123456",
                }
                | {"D": f"D-of-{theirs}-1234567890123456"},
            ),
        ):
            assert await placeholders(app, tenant) == expected
            found = (await load_policy(egress, tenant)).secrets
            assert {secret.name: secret.placeholder for secret in found} == expected

    run(scenario, address)


def test_a_secret_that_is_set_again_keeps_its_placeholder(address: DatabaseAddress) -> None:
    (tenant,) = make_tenants(address, 1)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        assert await existing_placeholder(app, Scope.TENANT, tenant, "KEY") is None
        id = await save(app, "KEY", tenant, placeholder="the-first-placeholder")
        assert await existing_placeholder(app, Scope.TENANT, tenant, "KEY") == "the-first-placeholder"
        assert await existing_placeholder(operator, Scope.OPERATOR, None, "KEY") is None
        with pytest.raises(Conflict, match="Set it again"):
            await save(app, "KEY", tenant, placeholder="the-other-placeholder")
        for database in (app, operator, egress):
            changed = Binding(hosts=("new.test",))
            again = await save(
                database, "KEY", tenant, placeholder="the-first-placeholder", binding=changed, sealed=b"2"
            )
            assert again == id
        (secret,) = (await load_policy(egress, tenant)).secrets
        assert (secret.placeholder, secret.binding, secret.sealed) == ("the-first-placeholder", changed, b"2")

    run(scenario, address)


def test_secrets_are_listed_without_seals_and_removed(address: DatabaseAddress) -> None:
    mine, theirs = make_tenants(address, 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        used = await save(operator, "ALL")
        await save(app, "MINE", mine)
        await save(app, "THEIRS", theirs)
        await mark_used(egress, [used])
        listed = await list_secrets(operator, limit=10)
        assert [(each.name, each.tenant_name, each.binding) for each in listed] == [
            ("ALL", "", BINDING),
            ("MINE", "tenant-1", BINDING),
            ("THEIRS", "tenant-2", BINDING),
        ]
        assert [each.last_used_at is not None for each in listed] == [True, False, False]
        assert [each.name for each in await list_secrets(app, mine, limit=10)] == ["ALL", "MINE"]
        for name, tenant in (("ALL", None), ("THEIRS", theirs)):
            with pytest.raises(NotFound):
                await remove_secret(app, Scope.TENANT, mine, name)
            assert await existing_placeholder(operator, Scope.TENANT if tenant else Scope.OPERATOR, tenant, name)
        with pytest.raises(NotFound):
            await remove_secret(app, Scope.OPERATOR, None, "ALL")
        await remove_secret(app, Scope.TENANT, mine, "MINE")
        await remove_secret(operator, Scope.OPERATOR, None, "ALL")
        assert [each.name for each in await list_secrets(operator, limit=10)] == ["THEIRS"]

    run(scenario, address)


def test_in_a_tenants_name_nothing_is_set_for_others(address: DatabaseAddress) -> None:
    make_tenants(address, 1)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        for scope in (Scope.OPERATOR, Scope.AGENT):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await save(app, "KEY", scope=scope)

    run(scenario, address)


def test_a_tenant_has_a_bounded_number_of_secrets(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = make_tenants(address, 2)
    monkeypatch.setattr(secrets, "SECRET_LIMIT", 2)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        for name in ("A", "B"):
            await save(app, name, mine)
        with pytest.raises(Exhausted, match="2 secrets already"):
            await save(app, "C", mine)
        await save(app, "A", mine)
        await save(app, "C", theirs)

    run(scenario, address)


@pytest.mark.parametrize("role", [Role.APP, Role.OPERATOR])
def test_nobody_but_the_gateway_reads_a_seal_back(address: DatabaseAddress, role: Role) -> None:
    async def main() -> None:
        async with await connect(address, role) as connection:
            for attempt in (
                "SELECT sealed FROM bound_secret",
                "SELECT * FROM bound_secret",
                "UPDATE bound_secret SET binding = '{}' RETURNING sealed",
                "UPDATE bound_secret SET placeholder = sealed::text",
                "SELECT tenant_egress(1)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(attempt.encode())

    asyncio.run(main())


def test_a_binding_that_cannot_be_read_is_told(address: DatabaseAddress) -> None:
    (tenant,) = make_tenants(address, 1)

    async def scenario(operator: Database, app: Database, egress: Database) -> None:
        await save(app, "KEY", tenant)
        owner_rows(address, "UPDATE bound_secret SET binding = '{}' WHERE name = %s", "KEY")
        with pytest.raises(Corrupt) as caught:
            await load_policy(egress, tenant)
        assert "set it again" in caught.value.public

    run(scenario, address)
