"""What becomes of a site whose server stopped answering, against a real PostgreSQL; and how long visits may wake."""

import asyncio

import pytest
from tests.real.identity_scene import heard, run
from tests.real.test_site_history import ONE, act, ann, publish, served

from subclaw.core.site import DynamicSite
from subclaw.core.site_health import Trouble
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.machines import StoreMachineLedger
from subclaw.store.sites import StoreSites
from subclaw.store.suspension import suspend

OLD, NEW = DynamicSite(port=8000), DynamicSite(port=9000)


async def stopped(address: DatabaseAddress, tenant_id: TenantId, port: int, trouble: Trouble = Trouble.STOPPED) -> None:
    """Say as a host that a port does not serve its visitors."""
    async with open_database(address, Role.HOST, size=1) as database:
        await StoreMachineLedger(database, "host-tests").port_troubled(tenant_id, port, trouble)


def told_of_port(address: DatabaseAddress) -> list[str]:
    return [text for _, text in heard(address) if "stopped answering" in text]


def test_the_last_version_that_has_not_failed_is_served_again_and_the_agent_told(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE, OLD, NEW)
        await stopped(address, tenant, 9000)
        assert await served(address, tenant) == OLD
        await stopped(address, tenant, 8000)
        assert await served(address, tenant) == ONE
        first, second = told_of_port(address)
        assert "port 9000" in first
        assert "Version 2 of the site is shown again" in first
        assert "Version 1 of the site is shown again" in second
        await stopped(address, tenant, 8000)
        assert len(told_of_port(address)) == 2, "it is not what is served"

    run(scenario, address)


def test_a_version_that_failed_is_passed_over_until_it_answers(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE, OLD, NEW)
        await act(database, tenant, "undo")
        await stopped(address, tenant, 8000)
        await act(database, tenant, "undo 3")
        await stopped(address, tenant, 9000)
        assert await served(address, tenant) == ONE, "not what has failed before"
        await StoreSites(database, database).port_answers(tenant, 8000)
        await act(database, tenant, "undo 3")
        await stopped(address, tenant, 9000)
        assert await served(address, tenant) == OLD

    run(scenario, address)


def test_where_there_is_nothing_else_the_agent_is_told_once(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, OLD)
        await asyncio.gather(*(stopped(address, tenant, 8000) for _ in range(3)))
        assert await served(address, tenant) == OLD
        (words,) = told_of_port(address)
        assert "no earlier version" in words
        assert "/etc/subclaw/services.json" in words

    run(scenario, address)


def test_of_errors_alone_the_agent_is_told_once_a_day_and_the_site_stays(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE, OLD)
        await asyncio.gather(*(stopped(address, tenant, 8000, Trouble.ERRORS) for _ in range(3)))
        await stopped(address, tenant, 9000, Trouble.ERRORS)
        assert await served(address, tenant) == OLD
        assert told_of_errors(address) == ["port 8000"], "9000 is not what is served"
        await StoreSites(database, database).port_answers(tenant, 8000)
        await stopped(address, tenant, 8000, Trouble.ERRORS)
        assert len(told_of_errors(address)) == 2, "it was published anew"

    run(scenario, address)


def test_a_server_that_never_served_anybody_is_shown_no_more(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE, OLD)
        await stopped(address, tenant, 8000, Trouble.NEVER_SERVED)
        assert await served(address, tenant) == ONE
        (words,) = [text for _, text in heard(address) if "since it was published" in text]
        assert "Version 1 of the site is shown again" in words

    run(scenario, address)


def told_of_errors(address: DatabaseAddress) -> list[str]:
    """Return of which ports an agent was told that they answer with errors for a while."""
    return [text[text.index("port") :][:9] for _, text in heard(address) if "the last visitors of your site" in text]


def test_the_time_for_visits_is_the_plans_and_none_for_who_is_suspended(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        async with open_database(address, Role.HOST, size=1) as host, open_database(address, Role.OPERATOR) as operator:
            ledger = StoreMachineLedger(host, "host-tests")
            assert await ledger.visits_left_s(tenant) == 4 * 3600
            generation, _ = await ledger.begin(tenant, at_least=0, image="x")
            await ledger.use(tenant, generation, awake_s=3600.0)
            assert await ledger.visits_left_s(tenant) == pytest.approx(3 * 3600)
            ((name,),) = await operator.rows("SELECT name FROM tenant WHERE id = %s", tenant)
            await suspend(operator, name, "")
            assert await ledger.visits_left_s(tenant) == 0
            assert await ledger.visits_left_s(TenantId(999_999_999)) == 0

    run(scenario, address)
