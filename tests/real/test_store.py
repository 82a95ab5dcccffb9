"""The store against a real PostgreSQL: tenants apart, messages once, leases fenced."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import psycopg
import pytest

from subclaw.core.channel import Address, InboundMessage
from subclaw.core.errors import NotFound
from subclaw.core.event import (
    Event,
    MessageReceived,
    ModelReplied,
    ReplyQueued,
    ToolFinished,
    TurnFinished,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.model import Usage
from subclaw.core.site import DynamicSite, StaticSite
from subclaw.core.tenant import TenantId
from subclaw.core.tool import ToolCall
from subclaw.core.turn import Lease
from subclaw.store import conversations, tenants
from subclaw.store.database import Database, DatabaseAddress, LeaseLost, Role, connect, open_database
from subclaw.store.migrate import migrate, migrations
from subclaw.store.notify import worker_life
from subclaw.store.sites import StoreSites

REPLIED = ModelReplied(
    text="ok",
    calls=(ToolCall(id="c1", name="t", arguments="{}"),),
    usage=Usage(model="m", input_tokens=3, output_tokens=4),
)

OF_WORKERS = (
    "admit",
    "allow_certificate",
    "api_key_verifier",
    "begin_api_call",
    "charge_segments",
    "choose_name",
    "claim",
    "claim_domain_checks",
    "claim_due",
    "claim_outbox",
    "claim_preparations",
    "claim_turn_machines",
    "claim_unknown",
    "claim_untold",
    "claim_webhooks",
    "completions_of_turn",
    "domain_is_held",
    "count_agent_calls",
    "end_api_call",
    "erase_customer",
    "domain_is_refused",
    "expired_approvals",
    "export_customer",
    "file_piece",
    "fire_claimed",
    "follow_short_link",
    "has_budgets",
    "has_nothing",
    "heard_lately",
    "is_opted_out",
    "lapse_completion",
    "named_tenant",
    "next_due",
    "prune_tool_decisions",
    "note_moved",
    "open_file",
    "purge_schedules",
    "queue_webhooks",
    "reap",
    "reap_outbox",
    "reserve",
    "reserve_completion",
    "settle_completion",
    "settle_webhook",
    "strangers_lately",
    "tell_claimed",
    "tenant_of_domain",
    "tenant_of_customer",
    "tenant_of_name",
    "touch_site",
    "turn_away_person",
    "unmoved_names",
    "use_api_key",
)
"""Functions that look across tenants and return no words, but names of sites, and what an unguessable id is for."""

OF_TRIGGERS = (
    "charge_machine",
    "charge_usage",
    "count_change",
    "count_site_change",
    "count_site_loss",
    "count_site_move",
    "forget_minted",
    "forget_usage",
    "free_completion",
    "free_reservation",
    "leave_account",
    "next_site_generation",
    "note_event",
    "return_segments",
    "revoke_grant",
)
"""What is charged is counted for others too; nobody may call these."""

OF_OPERATORS = (
    "allow_domain",
    "decide_access",
    "drop_outbox",
    "refuse_domain",
    "remove_oauth_provider",
    "resume_tenant",
    "retry_outbox",
    "set_oauth_provider",
    "suspend_tenant",
    "take_site_down",
)
"""What the operator may do to rows of which it sees figures and states alone, or no seal."""

OF_HOSTS = (
    "begin_machine",
    "use_machine",
    "end_machine",
    "destroy_machine",
    "machines_of_host",
    "machine_is_suspended",
    "machine_over_budget",
    "settle_machines",
    "tenants_that_exist",
    "owed_house",
    "keep_house",
    "rest_house",
    "write_house",
    "keep_house_checkpoint",
    "roll_back_house",
    "visits_left",
    "port_errs",
    "port_failed",
)
"""A host keeps machines of many tenants, and has no right to any table: these are all that it may do."""

OF_GATEWAYS = ("connect_account", "end_grant", "prune_egress", "record_decisions", "record_egress_usage")
"""The gateway counts for many tenants what their machines ask for, and tells their agents of accounts."""


def run(scenario: Callable[[Database], Awaitable[None]], address: DatabaseAddress) -> None:
    async def main() -> None:
        async with open_database(address, Role.APP) as database:
            await scenario(database)

    asyncio.run(main())


def message(text: str = "hello", *, sender: str = "a", provider_id: str = "1") -> InboundMessage:
    return InboundMessage(
        sender=Address(channel="web", address=sender), provider_id=provider_id, text=text, received_at=datetime.now(UTC)
    )


async def receive(database: Database, text: str = "hello", *, sender: str = "a", provider_id: str = "1") -> int:
    names = (f"name-{sender}", f"other-{sender}")
    receipt = await conversations.receive(database, message(text, sender=sender, provider_id=provider_id), names)
    return receipt.tenant_id


async def claim_one(database: Database, worker_id: int = 1) -> Lease:
    (lease,) = await conversations.claim(database, worker_id, 10)
    return lease


def test_every_table_with_a_tenant_is_under_row_level_security(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        unprotected = connection.execute(
            """
            SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
              AND (c.relname = 'tenant' OR EXISTS (SELECT FROM pg_attribute a
                   WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
            """
        ).fetchall()
        without_policy = connection.execute(
            """
            SELECT c.relname FROM pg_class c WHERE c.relrowsecurity AND NOT EXISTS (
                SELECT FROM pg_policies p WHERE p.tablename = c.relname AND 'subclaw_app' = ANY (p.roles))
            """
        ).fetchall()
        protected = connection.execute("SELECT count(*) FROM pg_class WHERE relrowsecurity").fetchone()
    assert unprotected == []
    assert without_policy == []
    assert protected is not None
    assert protected[0] >= 11


def test_a_table_without_protection_would_be_found(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
        connection.execute("CREATE TABLE forgotten (tenant_id bigint)")
    with pytest.raises(AssertionError):
        test_every_table_with_a_tenant_is_under_row_level_security(address)


def test_functions_that_look_across_tenants_are_few_and_closed_to_others(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        definers = connection.execute(
            """
            SELECT p.proname, p.proconfig, ARRAY(
                SELECT r.rolname::text FROM pg_roles r
                WHERE starts_with(r.rolname, 'subclaw_') AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
            FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
            """
        ).fetchall()
    assert {name: callers for name, _, callers in definers} == {
        **{name: ["subclaw_app"] for name in OF_WORKERS},
        **{name: ["subclaw_operator"] for name in OF_OPERATORS},
        **{name: ["subclaw_host"] for name in OF_HOSTS},
        **{name: ["subclaw_egress"] for name in OF_GATEWAYS},
        **{name: [] for name in OF_TRIGGERS},
        "agent_of_tenant": ["subclaw_app", "subclaw_operator", "subclaw_egress"],
    }
    for name, settings, _ in definers:
        assert settings == ["search_path=public, pg_temp"], name


def test_a_query_with_no_where_sees_one_tenant(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        mine = await receive(database, "mine", sender="a")
        await receive(database, "theirs", sender="b")
        async with await connect(address, Role.APP) as connection:
            for table in ("inbox", "conversation", "identity"):
                query = psycopg.sql.SQL("SELECT tenant_id FROM {}").format(psycopg.sql.Identifier(table))
                assert await (await connection.execute(query)).fetchall() == [], "nobody yet, nothing seen"
            await connection.execute("SELECT set_config('subclaw.tenant', %s, false)", [str(mine)])
            for table in ("inbox", "conversation", "identity"):
                query = psycopg.sql.SQL("SELECT tenant_id FROM {}").format(psycopg.sql.Identifier(table))
                assert await (await connection.execute(query)).fetchall() == [(mine,)]
            assert await (await connection.execute("SELECT id FROM tenant")).fetchall() == [(mine,)]
            changed = await connection.execute("UPDATE inbox SET text = 'x'")
            assert changed.rowcount == 1

    run(scenario, address)


def test_a_row_cannot_be_written_for_somebody_else(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        mine, theirs = await receive(database, sender="a"), await receive(database, sender="b")
        async with await connect(address, Role.APP) as connection:
            await connection.execute("SELECT set_config('subclaw.tenant', %s, false)", [str(mine)])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(
                    "INSERT INTO site_version (tenant_id, number, port) VALUES (%s, 1, 80)", [theirs]
                )

    run(scenario, address)


def test_the_same_provider_id_is_the_same_message(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        receipts = [await conversations.receive(database, message(), ["name-a"]) for _ in range(2)]
        assert [receipt.duplicate for receipt in receipts] == [False, True]
        lease = await claim_one(database)
        opened = await conversations.open_turn(database, lease)
        assert opened.events == (TurnStarted(), MessageReceived(text="hello", provider_id="1"))

    run(scenario, address)


def test_a_strangers_first_messages_at_once_make_one_tenant(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        made = await asyncio.gather(*(receive(database, provider_id=str(i)) for i in range(16)))
        assert len(set(made)) == 1

    run(scenario, address)


def test_a_taken_name_gives_way_to_the_next_proposal(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        proposals = ["calm-otter", "calm-otter-22"]
        for sender in ("a", "b"):
            await conversations.receive(database, message(sender=sender), proposals)
        async with open_database(address, Role.OPERATOR) as operator:
            names = {summary.name for summary in await tenants.tenant_summaries(operator, limit=10)}
        assert names == {"calm-otter", "calm-otter-22"}

    run(scenario, address)


def test_events_come_back_as_they_were(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await receive(database, "nul and emoji 🦀")
        lease = await claim_one(database)
        await conversations.open_turn(database, lease)
        finished = ToolFinished(call_id="c1", content="a\0b \ud800", is_error=False)
        assert await conversations.append(database, lease, [REPLIED, finished]) == ()
        events = (await conversations.open_turn(database, lease)).events
        assert events[2:] == (REPLIED, ToolFinished(call_id="c1", content="a\ufffdb ?", is_error=False))

    run(scenario, address)


def test_what_is_said_meanwhile_is_drained_in_order(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await receive(database, "one")
        lease = await claim_one(database)
        await conversations.open_turn(database, lease)
        await receive(database, "two", provider_id="2")
        await receive(database, "three", provider_id="3")
        said = await conversations.append(database, lease, [REPLIED], drain=True)
        assert [event.text for event in said if isinstance(event, MessageReceived)] == ["two", "three"]
        assert await conversations.append(database, lease, [REPLIED], drain=True) == ()

    run(scenario, address)


def test_a_lease_is_kept_while_more_was_said(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await receive(database)
        lease = await claim_one(database)
        await conversations.open_turn(database, lease)
        await receive(database, "wait", provider_id="2")
        last: list[Event] = [ReplyQueued(text="r"), TurnFinished(outcome=TurnOutcome.ANSWERED)]
        assert not await conversations.finish(database, lease, last, reply="r", send=False)
        assert await conversations.claim(database, 2, 10) == ()
        await conversations.open_turn(database, lease)
        assert await conversations.finish(database, lease, last, reply="r", send=False)
        with pytest.raises(LeaseLost):
            await conversations.append(database, lease, [REPLIED])

    run(scenario, address)


def test_one_conversation_has_one_owner(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        for sender in "abcdefgh":
            await receive(database, sender=sender)
        claimed = await asyncio.gather(*(conversations.claim(database, worker, 3) for worker in range(6)))
        leases = [lease.conversation_id for leases in claimed for lease in leases]
        assert len(leases) == len(set(leases)) == 8

    run(scenario, address)


def test_a_dead_workers_conversation_is_freed_and_it_can_write_no_more(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await receive(database)
        async with worker_life(address) as (_, worker_id):
            lease = await claim_one(database, worker_id)
            await conversations.open_turn(database, lease)
            assert await conversations.reap(database) == 0, "it lives"
        async with asyncio.timeout(10):
            while not await conversations.reap(database):
                await asyncio.sleep(0.01)
        with pytest.raises(LeaseLost):
            await conversations.append(database, lease, [REPLIED])
        taken_over = await claim_one(database)
        assert taken_over.epoch > lease.epoch
        assert (await conversations.open_turn(database, taken_over)).events[0] == TurnStarted()

    run(scenario, address)


def test_usage_is_recorded_with_the_models_reply(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await receive(database)
        lease = await claim_one(database)
        await conversations.append(database, lease, [REPLIED, REPLIED])
        async with open_database(address, Role.OPERATOR) as operator:
            (summary,) = await tenants.tenant_summaries(operator, limit=10)
        assert (summary.tokens, summary.messages, summary.channels) == (14, 1, ("web",))

    run(scenario, address)


def test_the_operator_sees_no_words(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await receive(database, "private")
        async with await connect(address, Role.OPERATOR) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("UPDATE inbox SET text = ''")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("SELECT text FROM inbox")

    run(scenario, address)


def test_sites_switch_and_are_listed_for_the_router(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = TenantId(await receive(database))
        async with open_database(address, Role.OPERATOR) as operator:
            sites = StoreSites(database, operator)
            assert await sites.name_of(tenant) == "name-a"
            for content in (StaticSite(release="abc"), DynamicSite(port=8000)):
                await sites.publish(tenant, content)
                (site,) = (await sites.changes("")).sites
                assert (site.name, site.content) == ("name-a", content)
            with pytest.raises(NotFound):
                await sites.name_of(TenantId(tenant + 1))

    run(scenario, address)


def test_a_host_may_call_its_functions_and_nothing_else(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.HOST), autocommit=True) as connection:
        relations = connection.execute(
            "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p', 'v', 'm', 'S')"
        ).fetchall()
        assert {"tenant", "machine", "machine_use", "plan", "secret"} <= {name for name, _ in relations}
        for name, kind in relations:
            table = psycopg.sql.Identifier(name)
            tries = ["SELECT FROM {}", "DELETE FROM {}"] if kind != "S" else ["SELECT last_value FROM {}"]
            for attempt in tries:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(psycopg.sql.SQL(attempt).format(table))
        callable_ones = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND has_function_privilege(oid, 'EXECUTE')"
        ).fetchall()
    assert {name for (name,) in callable_ones} == set(OF_HOSTS)


def test_only_the_operator_says_which_plan_a_tenant_is_on(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        mine = await receive(database)
        async with await connect(address, Role.APP) as connection:
            await connection.execute("SELECT set_config('subclaw.tenant', %s, false)", [str(mine)])
            renamed = await connection.execute("UPDATE tenant SET name = 'new-name'")
            assert renamed.rowcount == 1
            for attempt in (
                "UPDATE tenant SET plan = 'standard'",
                "INSERT INTO tenant (name, plan) VALUES ('more', 'standard')",
                "UPDATE plan SET disk_mb = 100000",
                "UPDATE machine_use SET awake_s = 0",
                "DELETE FROM machine",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(attempt.encode())

    run(scenario, address)


def test_migrating_again_changes_nothing(address: DatabaseAddress) -> None:
    assert asyncio.run(migrate(address)) == 0
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))
