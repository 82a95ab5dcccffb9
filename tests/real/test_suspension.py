"""A tenant that is suspended: every door asks the database, nothing is lost, and it comes back whole."""

import asyncio
import io
from datetime import UTC, datetime

import pytest
from rich.console import Console
from tests.budgets import owner_rows
from tests.real.identity_scene import PHONE, WEB, heard, queued, run, say, told
from tests.real.test_completions import metered, prompt
from tests.real.test_consent import at_rest, caller_of, put, while_delivering
from tests.real.test_outbox import Phone
from tests.real.test_store import claim_one

from subclaw.commands.suspension import resume_tenant, suspend_tenant
from subclaw.config import load_settings
from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Address
from subclaw.core.completion import Asker
from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.event import ModelReplied, TurnStarted
from subclaw.core.intake_limits import SUSPENDED
from subclaw.core.machine import MachineState
from subclaw.core.schedule import ScheduleMode
from subclaw.core.site import SiteChanges, StaticSite
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, LeaseLost, Role, open_database
from subclaw.store.machines import StoreMachineLedger
from subclaw.store.schedules import StoreSchedules, fire_due, next_due_s
from subclaw.store.sites import StoreSites
from subclaw.store.suspension import resume, suspend
from subclaw.testing.models import ScriptedModel, words
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

BECAUSE = "Too much spam."


def name_of(address: DatabaseAddress, one: Address) -> str:
    query = "SELECT t.name FROM tenant t JOIN identity i ON i.tenant_id = t.id WHERE i.channel = %s AND i.address = %s"
    return str(owner_rows(address, query, one.channel, one.address)[0][0])


async def suspended(address: DatabaseAddress, one: Address, because: str = BECAUSE) -> None:
    async with open_database(address, Role.OPERATOR, size=1) as operator:
        await suspend(operator, name_of(address, one), because)


async def resumed(address: DatabaseAddress, one: Address) -> None:
    async with open_database(address, Role.OPERATOR, size=1) as operator:
        await resume(operator, name_of(address, one))


def turns(database: Database, model: ScriptedModel) -> Turns:
    return Turns(
        database=database,
        model=model,
        toolbox=BuiltInToolbox([]),
        agent=AgentSettings(),
        instructions=lambda _: "",
        sends=lambda channel: channel != "web",
    )


async def until_told(address: DatabaseAddress, to: Address, count: int) -> None:
    while len(told(address, to)) < count:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("sender", [WEB, PHONE])
def test_whoever_writes_is_answered_once_and_nothing_is_stored(sender: Address, address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, sender, "hello")
        await suspended(address, sender)
        receipts = await asyncio.gather(*(say(database, sender, f"are you there {n}?") for n in range(5)))
        assert {receipt.tenant_id for receipt in receipts} == {caller_of(address, sender).tenant_id}
        assert told(address, sender) == [f"{SUSPENDED} {BECAUSE}"]
        assert heard(address) == [(sender.channel, "hello")]
        await resumed(address, sender)
        await say(database, sender, "and now?")
        assert heard(address) == [(sender.channel, "hello"), (sender.channel, "and now?")]
        await suspended(address, sender, "")
        await say(database, sender, "again?")
        assert told(address, sender)[1:] == [SUSPENDED], "the next time it is said anew"

    run(scenario, address)


def test_no_turn_begins_and_what_waited_is_answered_after_it(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        await say(database, PHONE, "somebody else")
        await suspended(address, WEB)
        model = ScriptedModel([words("here I am")])
        async with asyncio.TaskGroup() as group:
            working = group.create_task(work(turns(database, model), address, limit=4))
            await until_told(address, PHONE, 1)
            assert (told(address, WEB), len(model.prompts)) == ([], 1), "others are not kept waiting"
            await resumed(address, WEB)
            await until_told(address, WEB, 1)
            working.cancel()

    run(scenario, address)


def test_a_turn_that_runs_writes_nothing_more_and_goes_on_where_it_was(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        lease = await claim_one(database)
        await conversations.open_turn(database, lease)
        await suspended(address, WEB)
        said = words("half way")
        step = ModelReplied(text=said.text, calls=(), usage=said.usage)
        with pytest.raises(LeaseLost):
            await conversations.append(database, lease, [step])
        assert await conversations.claim(database, 1, 10) == ()
        await resumed(address, WEB)
        opened = await conversations.open_turn(database, await claim_one(database))
        assert (opened.resumed, opened.failures, opened.events[0]) == (True, 0, TurnStarted())

    run(scenario, address)


def test_nothing_goes_out_but_the_word_of_it_and_afterwards_all_of_it(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone = Phone()
        await say(database, PHONE, "hello")
        await put(database, caller_of(address, PHONE), PHONE, "a reply")
        owner_rows(address, "UPDATE outbox SET send_until = now() + interval '1 minute'")
        await suspended(address, PHONE)
        await say(database, PHONE, "well?")
        await while_delivering(database, address, [phone], at_rest(address, 1))
        assert phone.taken == [f"{SUSPENDED} {BECAUSE}"]
        # It was down for longer than the reply had left to go out.
        owner_rows(address, "UPDATE tenant SET suspended_at = suspended_at - interval '2 days'")
        owner_rows(address, "UPDATE outbox SET send_until = send_until - interval '2 days'")
        await resumed(address, PHONE)
        await while_delivering(database, address, [phone], at_rest(address, 2))
        assert phone.taken[1].endswith("a reply")

    run(scenario, address)


@pytest.mark.parametrize("mode", ScheduleMode)
def test_no_reminder_fires_until_it_goes_on(mode: ScheduleMode, address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        caller = caller_of(address, WEB)
        await StoreSchedules(database).set(caller, due_at=datetime.now(UTC), mode=mode, text="tea")
        await suspended(address, WEB)
        assert (await fire_due(database, 10, ["web"]), await next_due_s(database)) == (0, None)
        await resumed(address, WEB)
        assert await fire_due(database, 10, ["web"]) == 1

    run(scenario, address)


def test_no_machine_starts_and_one_that_is_awake_has_no_second_left(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        tenant_id = caller_of(address, WEB).tenant_id
        async with open_database(address, Role.HOST, size=1) as host:
            ledger = StoreMachineLedger(host, "host-1")
            generation, _ = await ledger.begin(tenant_id, at_least=0, image="i")
            await suspended(address, WEB)
            assert (await ledger.use(tenant_id, generation, awake_s=1)).at_all_s == 0
            await ledger.end(tenant_id, generation, MachineState.ASLEEP_WITH_MEMORY, awake_s=1)
            with pytest.raises(Denied, match="paused"):
                await ledger.begin(tenant_id, at_least=0, image="i")
            await resumed(address, WEB)
            assert (await ledger.begin(tenant_id, at_least=0, image="i"))[0] == generation + 1

    run(scenario, address)


def test_no_program_asks_a_model(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        asker = Asker(tenant_id=caller_of(address, WEB).tenant_id)
        model = ScriptedModel([words("yes")])
        await suspended(address, WEB)
        with pytest.raises(Denied, match="paused"):
            await metered(database, model).complete(asker, [prompt()])
        assert model.prompts == []
        await resumed(address, WEB)
        await metered(database, model).complete(asker, [prompt()])
        assert len(model.prompts) == 1

    run(scenario, address)


def test_its_site_is_paused_and_nothing_is_published(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        tenant_id = caller_of(address, WEB).tenant_id
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            sites = StoreSites(database, operator)
            await sites.publish(tenant_id, StaticSite(release="r"))
            known = (await sites.changes("")).mark
            assert await sites.changes(known) == SiteChanges(mark=known, sites=[], are_all=False)
            await suspended(address, WEB)
            paused = await sites.changes(known)
            assert [site.is_paused for site in paused.sites] == [True]
            with pytest.raises(Denied, match="paused"):
                await sites.name_of(tenant_id)
            await resumed(address, WEB)
            resumed_since = await sites.changes(paused.mark)
            assert ([site.is_paused for site in resumed_since.sites], resumed_since.are_all) == ([False], False)

    run(scenario, address)


def test_approvals_do_not_lapse_in_between_with_words(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        caller = caller_of(address, WEB)
        owner_rows(
            address,
            """
            INSERT INTO approval (tenant_id, conversation_id, approval_id, seq, tool, requested_at, expires_at)
            VALUES (%s, %s, 'a', 1, 't', now(), now())
            """,
            caller.tenant_id,
            caller.conversation_id,
        )
        owner_rows(address, "UPDATE conversation SET drained_seq = inbox_seq")
        query = "SELECT count(*) FROM expired_approvals(now(), 10)"
        await suspended(address, WEB)
        assert owner_rows(address, query) == [(0,)]
        await resumed(address, WEB)
        assert owner_rows(address, query) == [(1,)]

    run(scenario, address)


def test_the_operator_suspends_and_resumes_by_name(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.machines.host_client.RESTART_S", 0.1)  # there is no host, and none is started anew

    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello")
        name, output = name_of(address, PHONE), io.StringIO()
        console = Console(file=output, width=200)
        settings = load_settings({"DATABASE_URL": address.url, "SUBCLAW_HOME": "/nowhere"})
        await suspend_tenant(settings, console, name, because="")
        await suspend_tenant(settings, console, name, because="Second thoughts.")
        await say(database, PHONE, "well?")
        assert queued(address, PHONE) == [f"{SUSPENDED} Second thoughts."]
        await resume_tenant(settings, console, name)
        await resume_tenant(settings, console, name)
        await say(database, PHONE, "well?")
        assert len(heard(address)) == 2
        assert f"{name} is suspended" in output.getvalue()
        with pytest.raises(NotFound):
            await suspend_tenant(settings, console, "nobody", because="")
        with pytest.raises(NotFound):
            await resume_tenant(settings, console, "nobody")
        with pytest.raises(Invalid):
            await suspend_tenant(settings, console, name, because="x" * 501)

    run(scenario, address)


def test_stop_is_heeded_though_the_tenant_is_suspended(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello")
        await suspended(address, PHONE)
        await say(database, PHONE, "STOP")
        await resumed(address, PHONE)
        phone = Phone()
        await put(database, caller_of(address, PHONE), PHONE, "a reply")
        await while_delivering(database, address, [phone], at_rest(address, 1))
        assert phone.taken == []

    run(scenario, address)
