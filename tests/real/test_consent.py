"""Who does not want to be written to is not, by whatever door; and nobody is who has not written. Real PostgreSQL."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import psycopg
import pytest
from tests.budgets import owner_rows
from tests.real.identity_scene import CHAT, PHONE, WEB, code_for, heard, queued, run, say, told
from tests.real.test_outbox import QUICK, Phone

from subclaw.channels.registry import goes_out
from subclaw.core.channel import Address, Channel, Delivery, DeliveryReport, SendResult
from subclaw.core.consent import OPTED_OUT
from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.linking import UNLINKED_HERE
from subclaw.core.quiet import UNASKED_AN_HOUR, QuietHours
from subclaw.core.schedule import SET_AN_HOUR, ScheduleMode
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolCall
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.notifications import StoreNotifications
from subclaw.store.outbox import StoreReports
from subclaw.store.schedules import StoreSchedules, fire_due, tell_failed
from subclaw.tools.notify import notify_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.outbox import deliver, utc_now

STRANGER = Address(channel="sms", address="+15550109999")
MAIL = Address(channel="email", address="ann@example.org")
GROUP = Address(channel="imessage", address="chat831234567890123456")
OPTED_OUT_21610 = SendResult(delivery=Delivery.FAILED, detail="opted out", opted_out=True)
STATES = "SELECT text, state, detail FROM outbox ORDER BY id"
CONSENT = "SELECT tenant_id IS NULL, state, how, evidence_id FROM consent WHERE address = %s ORDER BY id"


def caller_of(address: DatabaseAddress, one: Address, *, call: str = "call_1") -> Caller:
    query = "SELECT tenant_id, id FROM conversation WHERE channel = %s AND address = %s"
    ((tenant_id, id),) = owner_rows(address, query, one.channel, one.address)
    return Caller(tenant_id=TenantId(int(str(tenant_id))), conversation_id=int(str(id)), call_id=call, turn_id="turn_1")


async def notify(database: Database, caller: Caller, text: str, channel: str) -> str:
    toolbox = BuiltInToolbox(notify_tools(StoreNotifications(database, goes_out)))
    arguments = json.dumps({"text": text, "channel": channel})
    return (await toolbox.perform(caller, ToolCall(id=caller.call_id, name="notify_user", arguments=arguments))).content


async def put(database: Database, caller: Caller, to: Address, text: str) -> None:
    """Put a reply in the outbox as whoever acts as the tenant can."""
    query = "SELECT be_tenant(%s)", "INSERT INTO outbox (tenant_id, conversation_id, channel, address, text)"
    async with database.transaction() as connection:
        await connection.execute(query[0], [caller.tenant_id])
        values = [caller.tenant_id, caller.conversation_id, to.channel, to.address, text]
        await connection.execute(f"{query[1]} VALUES (%s, %s, %s, %s, %s)", values)


async def while_delivering(
    database: Database,
    address: DatabaseAddress,
    channels: list[Channel],
    steps: Callable[[], Awaitable[None]],
    *,
    quiet: QuietHours | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> None:
    by_name = {channel.name: channel for channel in channels}
    async with asyncio.TaskGroup() as group:
        sending = deliver(database, address, by_name, times=QUICK, clock=clock, quiet=quiet)
        delivering = group.create_task(sending)
        await steps()
        delivering.cancel()


def at_rest(address: DatabaseAddress, count: int) -> Callable[[], Awaitable[None]]:
    return until(address, "SELECT count(*) FROM outbox WHERE state NOT IN ('queued', 'sending')", count)


def held(address: DatabaseAddress, count: int) -> Callable[[], Awaitable[None]]:
    return until(address, "SELECT count(*) FROM outbox WHERE state = 'queued' AND held_until IS NOT NULL", count)


def until(address: DatabaseAddress, query: str, count: int) -> Callable[[], Awaitable[None]]:
    async def wait() -> None:
        while owner_rows(address, query) != [(count,)]:
            await asyncio.sleep(0.01)

    return wait


def test_one_person_does_not_opt_a_group_out(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, GROUP, "hello", speaker="Ann")
        for word in ("STOP", "HELP", "START"):
            await say(database, GROUP, word, speaker="Bob")
        assert [text for _, text in heard(address)] == ["hello", "STOP", "HELP", "START"], "words for the agent"
        assert [row[1:3] for row in owner_rows(address, CONSENT, GROUP.address)] == [("in", "wrote first")]
        private = replace(GROUP, address="+15550107777")
        await say(database, private, "hello")
        await say(database, private, "STOP")
        assert owner_rows(address, CONSENT, private.address)[-1][1] == "out"

    run(scenario, address)


def test_nothing_is_sent_after_stop_and_everything_after_start(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone = Phone()
        await say(database, PHONE, "hello")
        caller = caller_of(address, PHONE)
        await put(database, caller, PHONE, "before")
        await say(database, PHONE, "Stop", id="SM9")
        assert (queued(address, PHONE), heard(address)) == (["before"], [("sms", "hello")])

        async def steps() -> None:
            await at_rest(address, 1)()
            assert owner_rows(address, STATES) == [("before", "failed", "opted out")]
            await say(database, PHONE, "unstop")
            await put(database, caller, PHONE, "after")
            await at_rest(address, 2)()

        await while_delivering(database, address, [phone], steps)
        assert phone.taken == ["after"]
        assert owner_rows(address, CONSENT, PHONE.address) == [
            (False, "in", "wrote first", owner_rows(address, "SELECT provider_id FROM inbox")[0][0]),
            (False, "out", "texted STOP", "SM9"),
            (False, "in", "texted UNSTOP", owner_rows(address, CONSENT, PHONE.address)[2][3]),
        ]

    run(scenario, address)


def test_where_nobody_else_answers_we_do_once(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        mail = Phone(name="email")
        await say(database, MAIL, "hello")

        async def steps() -> None:
            await say(database, MAIL, "UNSUBSCRIBE")
            await at_rest(address, 1)()
            await put(database, caller_of(address, MAIL), MAIL, "a reply")
            await at_rest(address, 2)()
            await say(database, MAIL, "START")
            await at_rest(address, 3)()

        await while_delivering(database, address, [mail], steps)
        assert mail.taken[0] == OPTED_OUT
        assert [text.split()[:3] for text in mail.taken[1:]] == [["You", "get", "messages"]]

    run(scenario, address)


def test_yes_is_an_answer_unless_one_has_opted_out(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        for text in ("hello", "YES", "STOP", "YES", "yes"):
            await say(database, PHONE, text)
        assert heard(address) == [("sms", "hello"), ("sms", "YES"), ("sms", "yes")]

    run(scenario, address)


def test_a_stranger_who_says_stop_is_nobodys_and_it_holds_when_they_write_later(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "STOP")
        assert owner_rows(address, "SELECT count(*) FROM tenant") == [(0,)]
        await say(database, PHONE, "hello")
        assert [row[:2] for row in owner_rows(address, CONSENT, PHONE.address)] == [(True, "out")]
        listed = await StoreNotifications(database, goes_out).ways(caller_of(address, PHONE))
        assert [way.opted_out for way in listed] == [True]
        assert await notify(database, caller_of(address, PHONE), "psst", "sms") == (
            "Not sent: the person has opted out there. Only they can change that, with START."
        )

    run(scenario, address)


def test_it_outlives_the_tenant(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello")
        await say(database, PHONE, "STOP")
        owner_rows(address, "DELETE FROM tenant")
        await say(database, PHONE, "hello again")
        (way,) = await StoreNotifications(database, goes_out).ways(caller_of(address, PHONE))
        assert way.opted_out

    run(scenario, address)


def test_what_twilio_refuses_with_21610_is_noted_by_its_answer_and_by_its_receipt(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello")
        caller = caller_of(address, PHONE)
        phone = Phone(results=[OPTED_OUT_21610, SendResult(delivery=Delivery.SENT)])

        async def steps() -> None:
            await put(database, caller, PHONE, "one")
            await at_rest(address, 1)()
            await put(database, caller, PHONE, "two")
            await at_rest(address, 2)()
            await say(database, PHONE, "START")
            report = DeliveryReport(
                tenant_id=caller.tenant_id,
                reply_id=int(str(owner_rows(address, "SELECT max(id) FROM outbox")[0][0])),
                part=0,
                provider_id="SM1",
                delivery=Delivery.FAILED,
                opted_out=True,
            )
            await StoreReports(database).report(report)
            await put(database, caller, PHONE, "three")
            await at_rest(address, 3)()

        await while_delivering(database, address, [phone], steps)
        assert phone.taken == ["one"]
        states = [row[1] for row in owner_rows(address, CONSENT, PHONE.address)]
        assert states == ["in", "out", "in", "out"]

    run(scenario, address)


def test_a_reminder_that_is_refused_is_told_in_another_channel(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        await say(database, PHONE, await code_for(database, address, WEB))
        await say(database, PHONE, "remind me")
        due_at = datetime.now(UTC)
        await StoreSchedules(database).set(
            caller_of(address, PHONE), due_at=due_at, mode=ScheduleMode.MESSAGE, text="tea"
        )
        await say(database, PHONE, "STOP")
        assert await fire_due(database, 10, ["web"]) == 1

        async def steps() -> None:
            await at_rest(address, 2)()
            assert await tell_failed(database, 10, ["web"]) == 1

        await while_delivering(database, address, [Phone()], steps)
        assert told(address, WEB)[-1].endswith("tea")

    run(scenario, address)


@pytest.mark.parametrize("channel", ["sms", "sms +1…4567", PHONE.address, STRANGER.address])
def test_an_agent_cannot_name_a_stranger(channel: str, address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        await say(database, PHONE, "I am somebody else")
        words = await notify(database, caller_of(address, WEB), "psst", channel)
        assert words.startswith("The person is not reached by")
        with pytest.raises(NotFound):
            await StoreNotifications(database, goes_out).send(caller_of(address, WEB), PHONE, "psst")
        assert queued(address, PHONE) == []

    run(scenario, address)


def test_an_agent_cannot_set_something_for_a_stranger(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, WEB, "hello")
        await say(database, PHONE, "I am somebody else")
        theirs = caller_of(address, PHONE).conversation_id
        caller = replace(caller_of(address, WEB), conversation_id=theirs)
        with pytest.raises(psycopg.errors.RaiseException, match="no such conversation"):
            await StoreSchedules(database).set(caller, due_at=datetime.now(UTC), mode=ScheduleMode.MESSAGE, text="psst")

    run(scenario, address)


def test_what_is_in_the_outbox_for_a_stranger_is_not_sent(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone = Phone()
        await say(database, WEB, "hello")
        await say(database, PHONE, "I am somebody else")
        for to in (PHONE, STRANGER):
            await put(database, caller_of(address, WEB), to, "psst")
        await while_delivering(database, address, [phone], at_rest(address, 2))
        assert owner_rows(address, STATES) == [("psst", "failed", "no address of the tenant")] * 2
        assert phone.taken == []

    run(scenario, address)


def test_what_was_on_its_way_to_a_channel_that_is_unlinked_is_not_sent_but_the_word_of_it_is(
    address: DatabaseAddress,
) -> None:
    async def scenario(database: Database) -> None:
        chat = Phone(name="telegram")
        await say(database, WEB, "hello")
        await say(database, CHAT, await code_for(database, address, WEB))
        await put(database, caller_of(address, CHAT), CHAT, "psst")
        await say(database, WEB, "unlink 2")
        await while_delivering(database, address, [chat], at_rest(address, 3))
        assert chat.taken == [UNLINKED_HERE]

    run(scenario, address)


NIGHT = QuietHours(begins=time(22), ends=time(7))


def tonight() -> datetime:
    """Return a moment of the coming night: then everything that was written today is long ago."""
    return (datetime.now(UTC) + timedelta(days=1)).replace(hour=3, minute=0, second=0, microsecond=0)


def age(address: DatabaseAddress) -> None:
    """Let what people wrote have been written long ago."""
    owner_rows(address, "UPDATE inbox SET received_at = received_at - interval '2 hours'")


def test_what_nobody_asked_for_waits_until_the_quiet_hours_are_over(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone, night = Phone(), tonight()
        await say(database, PHONE, "hello")
        age(address)
        caller = caller_of(address, PHONE)
        await notify(database, caller, "done", "sms")
        await while_delivering(database, address, [phone], held(address, 1), quiet=NIGHT, clock=lambda: night)
        assert phone.taken == []
        query = "SELECT state, detail, attempts, held_until FROM outbox"
        until = night.replace(hour=7)
        assert owner_rows(address, query) == [("queued", "held until the quiet hours are over", 0, until)]
        # Who writes at night is awake: what they ask for overtakes what is held.
        await say(database, PHONE, "are you there?")
        await put(database, caller, PHONE, "yes")
        await while_delivering(database, address, [phone], at_rest(address, 1), quiet=NIGHT, clock=lambda: night)
        assert [text.endswith("yes") for text in phone.taken] == [True]
        owner_rows(address, "UPDATE outbox SET send_at = now(), held_until = now()")
        await while_delivering(database, address, [phone], at_rest(address, 2), quiet=NIGHT, clock=lambda: until)
        assert phone.taken[1].endswith("done")

    run(scenario, address)


def test_it_is_the_persons_night_that_counts(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone, night = Phone(), tonight()
        await say(database, PHONE, "hello")
        age(address)
        owner_rows(address, "UPDATE tenant SET time_zone = 'America/Los_Angeles'")
        await put(database, caller_of(address, PHONE), PHONE, "good evening")
        await while_delivering(database, address, [phone], at_rest(address, 1), quiet=NIGHT, clock=lambda: night)
        assert [text.endswith("good evening") for text in phone.taken] == [True]

    run(scenario, address)


def test_a_reminder_fires_when_the_person_said(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone, night = Phone(), tonight()
        await say(database, PHONE, "wake me at three")
        age(address)
        await StoreSchedules(database).set(
            caller_of(address, PHONE), due_at=datetime.now(UTC), mode=ScheduleMode.MESSAGE, text="three o'clock"
        )
        assert await fire_due(database, 10, ["web"]) == 1
        await while_delivering(database, address, [phone], at_rest(address, 1), quiet=NIGHT, clock=lambda: night)
        assert [text.endswith("three o'clock") for text in phone.taken] == [True]

    run(scenario, address)


def test_an_agent_that_texts_without_end_is_slowed_and_told(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        phone = Phone()
        await say(database, PHONE, "hello")
        age(address)
        caller = caller_of(address, PHONE)

        async def slowed() -> None:
            for number in range(UNASKED_AN_HOUR + 2):
                await put(database, caller, PHONE, str(number))
                if number < UNASKED_AN_HOUR:
                    await at_rest(address, number + 1)()
            await held(address, 2)()

        await while_delivering(database, address, [phone], slowed)
        assert phone.taken == [str(number) for number in range(UNASKED_AN_HOUR)]
        with pytest.raises(Exhausted, match="nobody asked for") as refused:
            await StoreSchedules(database).set(
                caller, due_at=datetime.now(UTC), mode=ScheduleMode.AGENT_TURN, text="again"
            )
        assert "room again in 60 minutes" in refused.value.public
        owner_rows(address, "UPDATE outbox SET unasked_at = unasked_at - interval '2 hours'")
        owner_rows(address, "UPDATE outbox SET send_at = now() WHERE state = 'queued'")
        await while_delivering(database, address, [phone], at_rest(address, UNASKED_AN_HOUR + 2))

    run(scenario, address)


def test_an_agent_that_sets_one_reminder_after_the_other_is_stopped(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await say(database, PHONE, "hello")
        caller, schedules = caller_of(address, PHONE), StoreSchedules(database)
        due_at = datetime.now(UTC)
        for number in range(SET_AN_HOUR):
            one = replace(caller, call_id=f"c{number}")
            await schedules.set(one, due_at=due_at, mode=ScheduleMode.AGENT_TURN, text="x")
            assert await fire_due(database, 1, ["web"]) == 1
        with pytest.raises(Exhausted, match="within an hour"):
            await schedules.set(caller, due_at=due_at, mode=ScheduleMode.AGENT_TURN, text="x")

    run(scenario, address)
