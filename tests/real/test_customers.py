"""Customers and their sessions, in a real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import psycopg
import pytest

from subclaw.business.package import read_package
from subclaw.business.tools import sessions_in
from subclaw.core.business import CustomerChannel
from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.agents import apply
from subclaw.store.customers import open_session, session_of, session_of_conversation
from subclaw.store.database import Database, DatabaseAddress, Role, connect, open_database

BINDING = {"customer_id": "C-17", "scopes": ["orders:read"], "token": "canary-token"}


def run(scenario: Callable[[Database], Awaitable[None]], address: DatabaseAddress) -> None:
    async def main() -> None:
        with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
            owner.execute("INSERT INTO agent (id) VALUES ('support'), ('empty')")
            for number in (1, 2):
                owner.execute(
                    "INSERT INTO agent_version (agent, number, digest, paths, contents)"
                    " VALUES ('support', %s, %s, '{}', '{}')",
                    [number, str(number)],
                )
            owner.execute("UPDATE agent SET live = 1 WHERE id = 'support'")
        async with open_database(address, Role.APP) as database:
            await scenario(database)

    asyncio.run(main())


def set_canary(address: DatabaseAddress, share: int) -> None:
    with psycopg.connect(address.conninfo(Role.OPERATOR)) as operator:
        operator.execute("UPDATE agent SET canary = 2, canary_share = %s WHERE id = 'support'", [share])


def test_a_session_is_found_by_its_id_and_by_its_conversation(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        opened = await open_session(database, "support", "anna", BINDING)
        assert (opened.agent, opened.version, opened.customer) == ("support", 1, "anna")
        assert opened.binding == BINDING
        assert "canary-token" not in repr(opened)
        assert await session_of(database, opened.session_id) == opened
        with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
            rows = owner.execute("SELECT id FROM conversation WHERE address = %s", [opened.session_id]).fetchall()
        ((conversation_id,),) = rows
        assert await session_of_conversation(database, opened.tenant_id, conversation_id) == opened
        other = await open_session(database, "support", "ben", {})
        assert await session_of_conversation(database, other.tenant_id, conversation_id) is None
        assert await session_of(database, opened.session_id[:-1] + "x") is None

    run(scenario, address)


def test_tools_read_a_session_once_a_turn(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        opened = await open_session(database, "support", "anna", BINDING)
        with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as owner:
            query = "SELECT id FROM conversation WHERE address = %s"
            ((conversation_id,),) = owner.execute(query, [opened.session_id]).fetchall()
            mine = Caller(tenant_id=opened.tenant_id, conversation_id=conversation_id, call_id="call_1", turn_id="t_1")
            session_of_caller = sessions_in(database)
            assert await session_of_caller(mine) == opened
            owner.execute("DELETE FROM session WHERE conversation_id = %s", [conversation_id])
        assert await session_of_caller(replace(mine, call_id="call_2")) == opened
        for other in (replace(mine, turn_id="t_2"), replace(mine, tenant_id=TenantId(opened.tenant_id + 1))):
            with pytest.raises(Denied):
                await session_of_caller(other)

    run(scenario, address)


def test_a_customer_is_one_tenant_however_many_sessions_there_are(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        opened = await asyncio.gather(*(open_session(database, "support", "anna", {}) for _ in range(8)))
        assert len({session.tenant_id for session in opened}) == 1
        assert len({session.session_id for session in opened}) == 8

    run(scenario, address)


def test_sessions_are_under_row_level_security_and_bindings_are_not_the_operators(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        anna = await open_session(database, "support", "anna", BINDING)
        await open_session(database, "support", "ben", BINDING)
        async with await connect(address, Role.APP) as connection:
            assert await (await connection.execute("SELECT id FROM session")).fetchall() == []
            await connection.execute("SELECT set_config('subclaw.tenant', %s, false)", [str(anna.tenant_id)])
            assert await (await connection.execute("SELECT id FROM session")).fetchall() == [(anna.session_id,)]
        async with await connect(address, Role.OPERATOR) as connection:
            for column in ("id", "binding"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(
                        psycopg.sql.SQL("SELECT {} FROM session").format(psycopg.sql.Identifier(column))
                    )

    run(scenario, address)


def test_a_share_of_customers_gets_the_canary_and_always_the_same_ones(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        names = [f"customer {number}" for number in range(400)]

        async def those_with_canary() -> set[str]:
            opened = [await open_session(database, "support", name, {}) for name in names]
            return {session.customer for session in opened if session.version == 2}

        set_canary(address, 10)
        first = await those_with_canary()
        assert 15 <= len(first) <= 70
        assert await those_with_canary() == first
        set_canary(address, 30)
        assert await those_with_canary() > first

    run(scenario, address)


def test_a_session_stays_on_the_version_it_was_opened_with(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        opened = await open_session(database, "support", "anna", {})
        with psycopg.connect(address.conninfo(Role.OPERATOR)) as operator:
            operator.execute("UPDATE agent SET live = 2 WHERE id = 'support'")
        again = await session_of(database, opened.session_id)
        assert again is not None
        assert again.version == 1
        assert (await open_session(database, "support", "anna", {})).version == 2

    run(scenario, address)


def test_what_cannot_be_opened_is_said(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        for agent in ("empty", "nobody"):
            with pytest.raises(NotFound):
                await open_session(database, agent, "anna", {})
        for customer in ("", "a" * 201, "a\nb"):
            with pytest.raises(Invalid):
                await open_session(database, "support", customer, {})
        with pytest.raises(Invalid, match="16,384"):
            await open_session(database, "support", "anna", {"x": "y" * 20_000})

    run(scenario, address)


@pytest.mark.parametrize("role", [Role.OWNER, Role.OPERATOR])
@pytest.mark.parametrize("change", ["UPDATE agent_version SET digest = 'x'", "DELETE FROM agent_version"])
def test_versions_never_change(address: DatabaseAddress, role: Role, change: str) -> None:
    async def scenario(database: Database) -> None:
        with (
            psycopg.connect(address.conninfo(role)) as connection,
            pytest.raises((psycopg.errors.RaiseException, psycopg.errors.InsufficientPrivilege)),
        ):
            connection.execute(change.encode())

    run(scenario, address)


def test_a_version_is_reached_by_its_channels_alone(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        with pytest.raises(Denied, match="not reached by widget"):
            await open_session(database, "support", "anna", {}, CustomerChannel.WIDGET)
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            settings = b'id = "support"\nchannels = ["widget"]\n'
            await apply(operator, read_package({"agent.toml": settings, "instructions.md": b"Be kind."}))
        assert (await open_session(database, "support", "anna", {}, CustomerChannel.WIDGET)).version == 3
        with pytest.raises(Denied, match="not reached by api"):
            await open_session(database, "support", "anna", {})

    run(scenario, address)
