"""Reminders against a real PostgreSQL: those that come again, that were missed, and that failed."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import pytest
from tests.real.test_schedules import (
    DEADLINE_S,
    REPLIES,
    another,
    fire,
    keeping_time,
    lease_of,
    look,
    now,
    plan,
    receive,
    run,
    until,
)

from subclaw.core.channel import Channel, Delivery, OutboundMessage, SendResult, Trouble
from subclaw.core.errors import Conflict
from subclaw.core.event import Event, ReplyQueued, ScheduleDue, TurnFinished, TurnOutcome
from subclaw.core.recurrence import first_occurrence, parse_recurrence
from subclaw.core.schedule import IfMissed, Schedule, ScheduleMode
from subclaw.core.tool import Caller
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.schedules import StoreSchedules, next_due_s, purge_schedules, tell_failed
from subclaw.tools.schedule import schedule_tools
from subclaw.tools.toolbox import Tool
from subclaw.turns.outbox import deliver

BERLIN = ZoneInfo("Europe/Berlin")
STATES: LiteralString = "SELECT state, times, missed, failure FROM schedule ORDER BY id"


async def plan_again(
    database: Database,
    caller: Caller,
    rule: str = "FREQ=DAILY",
    *,
    ago: timedelta = timedelta(0),
    mode: ScheduleMode = ScheduleMode.MESSAGE,
    if_missed: IfMissed = IfMissed.LATE,
) -> Schedule:
    """Set a schedule that comes again, and was due first so long ago."""
    begin = (now() - ago).astimezone(BERLIN).replace(tzinfo=None)
    start = parse_recurrence(rule, begin=begin, time_zone="Europe/Berlin")
    first = first_occurrence(start, now() - ago - timedelta(minutes=1))
    return await StoreSchedules(database).set(
        another(caller),
        due_at=first.due_at,
        mode=mode,
        text="drink",
        if_missed=if_missed,
        time_zone="Europe/Berlin",
        recurrence=first.recurrence,
    )


async def tell(database: Database) -> int:
    return await tell_failed(database, 100, ["web"])


async def make_due(address: DatabaseAddress) -> None:
    """Let a day pass for what waits."""
    back: LiteralString = "UPDATE schedule SET due_at = due_at - interval '1 day', wall_at = wall_at - interval '1 day'"
    await look(address, back + " WHERE state = 'pending' RETURNING id")


def test_what_comes_again_happens_each_time_and_to_the_end(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        one = await plan_again(database, caller, "FREQ=DAILY;COUNT=3")
        for time in range(1, 4):
            assert await fire(database) == 1
            assert await fire(database) == 0
            assert len(await look(address, REPLIES)) == time
            if time < 3:
                (waiting,) = await StoreSchedules(database).pending(caller.tenant_id)
                assert waiting.due_at - one.due_at in (timedelta(hours=hours) for hours in (23, 24, 25))
                assert waiting.recurrence is not None
                assert waiting.recurrence.left == 3 - time
                await make_due(address)
        assert await look(address, STATES) == [("fired", 3, 0, None)]
        assert await next_due_s(database) is None

    run(scenario, address)


def test_an_agents_turn_that_comes_again_begins_each_time(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        one = await plan_again(database, await receive(database), mode=ScheduleMode.AGENT_TURN)
        for _ in range(2):
            assert await fire(database) == 1
            await make_due(address)
        opened = await conversations.open_turn(database, await lease_of(database))
        due = [event for event in opened.events if isinstance(event, ScheduleDue)]
        assert due == [ScheduleDue(schedule_id=one.id, text="drink")] * 2

    run(scenario, address)


def test_what_was_missed_is_late_once_and_says_so_or_is_left_out(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        ago = timedelta(days=3, hours=1)
        await plan(database, caller, in_s=-600, text="once")
        late = await plan_again(database, caller, ago=ago)
        skip = await plan_again(database, caller, ago=ago, if_missed=IfMissed.SKIP)
        await StoreSchedules(database).set(
            another(caller), due_at=now() - ago, mode=ScheduleMode.MESSAGE, text="never", if_missed=IfMissed.SKIP
        )
        assert await fire(database) == 4
        (first,), (second,) = await look(address, REPLIES)
        there = late.due_at.astimezone(BERLIN)
        when = f"{there:%H:%M} on {there:%A}, {there.day} {there:%B}"
        assert first == f"This was due at {when}, and 3 more times since:\ndrink"
        assert re.fullmatch(r"This was due at \d\d:\d\d UTC.*:\nonce", second)
        assert await look(address, STATES) == [
            ("fired", 1, 0, None),
            ("pending", 1, 3, None),
            ("pending", 0, 4, None),
            ("missed", 0, 1, None),
        ]
        *waiting, missed = (await StoreSchedules(database).listed(caller.tenant_id)).schedules
        assert waiting == await StoreSchedules(database).pending(caller.tenant_id)
        assert {one.id for one in waiting} == {late.id, skip.id}
        assert all(now() < one.due_at < now() + timedelta(days=1) for one in waiting)
        assert missed.missed
        with pytest.raises(Conflict, match="was missed"):
            await StoreSchedules(database).cancel(caller.tenant_id, missed.id)

    run(scenario, address)


def test_replicas_share_what_is_due_and_each_comes_again_once(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        callers = [await receive(database, sender=sender) for sender in "abcdefgh"]
        for caller in callers:
            for _ in range(10):
                await plan_again(database, caller, "FREQ=MINUTELY;INTERVAL=5")
        async with (
            open_database(address, Role.APP) as other,
            keeping_time(other, address, loops=2),
            keeping_time(database, address, loops=2),
        ):
            await until(address, "SELECT id FROM schedule WHERE times > 0", 80)
        assert await look(address, REPLIES) == [("drink",)] * 80
        assert await look(address, "SELECT DISTINCT state, times FROM schedule") == [("pending", 1)]
        seqs = await look(address, "SELECT conversation_id, array_agg(seq ORDER BY seq) FROM event GROUP BY 1")
        assert [numbers for _, numbers in seqs] == [list(range(1, 11))] * 8

    run(scenario, address)


async def take_and_die(doomed: Database, database: Database) -> None:
    async with doomed.transaction() as connection:
        claimed = await (await connection.execute("SELECT id FROM claim_due(10)")).fetchall()
        assert len(claimed) == 1
        assert await fire(database) == 0, "it is in another's hands, and nobody waits for that"
        raise RuntimeError("dies")


def test_whoever_takes_what_is_due_and_dies_leaves_it_to_others(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        await plan_again(database, caller)
        async with open_database(address, Role.APP, size=1) as doomed:
            with pytest.raises(RuntimeError, match="dies"):
                await take_and_die(doomed, database)
        assert await fire(database) == 1
        assert await look(address, REPLIES) == [("drink",)]

    run(scenario, address)


def test_a_batch_that_takes_long_goes_on_with_the_next(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.store.schedules.DECIDE_LIMIT_S", 0)

    async def scenario(database: Database) -> None:
        caller = await receive(database)
        for _ in range(3):
            await plan(database, caller)
        assert [await fire(database) for _ in range(4)] == [1, 1, 1, 0]

    run(scenario, address)


def test_a_turn_that_comes_to_nothing_is_told(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        one = await plan(database, caller, mode=ScheduleMode.AGENT_TURN, text="tell the weather")
        await plan(database, caller, text="another")
        await fire(database)
        lease = await lease_of(database)
        await conversations.open_turn(database, lease)
        assert await tell(database) == 0
        last: list[Event] = [ReplyQueued(text="no money"), TurnFinished(outcome=TurnOutcome.OVER_BUDGET)]
        assert await conversations.finish(database, lease, last, reply="no money", send=False)
        assert await look(address, STATES) == [("fired", 1, 0, "over_budget"), ("fired", 1, 0, None)]
        (failed,) = (await StoreSchedules(database).listed(caller.tenant_id)).schedules
        assert (failed.id, failed.failure) == (one.id, "over_budget")
        assert [await tell(database), await tell(database)] == [1, 0]
        told = (await look(address, REPLIES))[-1][0]
        assert told == f"The reminder of {one.due_at:%H:%M} UTC did not work out:\ntell the weather"

    run(scenario, address)


def test_a_turn_that_is_answered_is_no_failure(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        await plan(database, caller, mode=ScheduleMode.AGENT_TURN)
        await fire(database)
        lease = await lease_of(database)
        await conversations.open_turn(database, lease)
        last: list[Event] = [ReplyQueued(text="sunny"), TurnFinished(outcome=TurnOutcome.ANSWERED)]
        await conversations.finish(database, lease, last, reply="sunny", send=False)
        assert await look(address, STATES) == [("fired", 1, 0, None)]
        await receive(database, id="2")
        lease = await lease_of(database)
        await conversations.open_turn(database, lease)
        last = [ReplyQueued(text="oh"), TurnFinished(outcome=TurnOutcome.FAILED)]
        await conversations.finish(database, lease, last, reply="oh", send=False)
        assert await look(address, STATES) == [("fired", 1, 0, None)], "that turn was about something else"

    run(scenario, address)


class Refusing:
    """A provider that takes nothing, until it is mended."""

    name = "sms"
    mended = False

    def parts(self, text: str) -> Sequence[str]:
        """See `core.channel.Channel`, here and below."""
        return [text]

    async def send(self, message: OutboundMessage) -> SendResult:
        if self.mended:
            return SendResult(delivery=Delivery.SENT, provider_id=f"SM{message.reply_id}")
        return SendResult(delivery=Delivery.FAILED, detail="no such number", trouble=Trouble.REFUSED)


async def wait_for(address: DatabaseAddress, query: LiteralString) -> None:
    await until(address, query, 1)


def test_a_text_that_did_not_go_out_is_told_as_soon_as_the_person_is_there_again(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        channel = Refusing()
        channels: dict[str, Channel] = {"sms": channel}
        caller = await receive(database, sender="+15550100", channel="sms")
        sending = asyncio.create_task(deliver(database, address, channels))
        one = await plan(database, caller, text="drink")
        assert await fire(database) == 1
        await wait_for(address, "SELECT id FROM schedule WHERE failure = 'undelivered'")
        assert await tell(database) == 0, "it would go the same way"
        channel.mended = True
        await receive(database, sender="+15550100", channel="sms", id="2")
        assert [await tell(database), await tell(database)] == [1, 0]
        await wait_for(address, "SELECT id FROM outbox WHERE state = 'sent'")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        words = f"The reminder of {one.due_at:%H:%M} UTC did not work out:\ndrink"
        assert await look(address, "SELECT text, state FROM outbox ORDER BY id") == [
            ("drink", "failed"),
            (words, "sent"),
        ]
        assert await look(address, "SELECT told_at > failed_at FROM schedule") == [(True,)]

    run(scenario, address)


def test_or_at_once_in_another_channel_of_theirs(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database, sender="+15550100", channel="sms")
        web = await receive(database, sender="w")
        stranger = await receive(database, sender="s")
        same: LiteralString = "UPDATE conversation SET tenant_id = 1 WHERE address = 'w' RETURNING id"
        ((web_id,),) = await look(address, same)
        assert (caller.tenant_id, web_id) == (1, web.conversation_id)
        sending = asyncio.create_task(deliver(database, address, {"sms": Refusing()}))
        await plan(database, caller, text="drink")
        assert await fire(database) == 1
        await wait_for(address, "SELECT id FROM schedule WHERE failure = 'undelivered'")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert await tell(database) == 1
        told = await look(address, "SELECT conversation_id FROM event WHERE body ->> 'text' LIKE 'The reminder of%'")
        assert told == [(web_id,)]
        assert web_id != stranger.conversation_id

    run(scenario, address)


def test_what_is_over_for_long_is_forgotten(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        await plan(database, caller)
        await plan(database, caller, in_s=60)
        cancelled = await plan(database, caller, in_s=60)
        await StoreSchedules(database).cancel(caller.tenant_id, cancelled.id)
        assert await fire(database) == 1
        assert await purge_schedules(database, 100) == 0
        old: LiteralString = "UPDATE schedule SET ended_at = ended_at - interval '31 days' RETURNING id"
        await look(address, old)
        assert [await purge_schedules(database, 1) for _ in range(3)] == [1, 1, 0]
        assert [state for state, *_ in await look(address, STATES)] == ["pending"]

    run(scenario, address)


def test_failures_are_told_and_the_old_removed_while_time_is_kept(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.schedules.reminders.TICK_S", 0.05)
    monkeypatch.setattr("subclaw.schedules.reminders.PURGE_S", 0.05)

    async def scenario(database: Database) -> None:
        caller = await receive(database)
        await plan(database, caller, in_s=3600)
        await plan(database, caller, in_s=7200, text="tell")
        async with keeping_time(database, address):
            over: LiteralString = (
                "UPDATE schedule SET state = 'cancelled', ended_at = now() - interval '31 days'"
                " WHERE id = 1 RETURNING id"
            )
            await look(address, over)
            failed: LiteralString = (
                "UPDATE schedule SET failure = 'stuck', failed_at = now(), failed_due_at = now()"
                " WHERE id = 2 RETURNING id"
            )
            await look(address, failed)
            await until(address, REPLIES, 1)
            async with asyncio.timeout(DEADLINE_S):
                while len(await look(address, STATES)) > 1:
                    await asyncio.sleep(0.01)

    run(scenario, address)


async def call(tool: Tool, caller: Caller, **arguments: Any) -> str:
    return await tool.perform(another(caller), arguments)


def test_the_time_zone_is_asked_for_once_and_remembered(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        clock = datetime(2026, 11, 21, 8, 28, 5, tzinfo=UTC)
        (tool,) = schedule_tools(StoreSchedules(database), lambda: clock)
        told = await call(tool, caller, when="tomorrow at 9", text="drink", time_zone="Europe/Berlin")
        assert told == (
            "Set: schedule 1, due Sunday 2026-11-22 09:00 Europe/Berlin (2026-11-22T08:00:00Z)."
            " (9 was taken as 09:00.) It is now Saturday 2026-11-21 09:28:05 Europe/Berlin (2026-11-21T08:28:05Z)."
        )
        told = await call(tool, caller, when="monday 15:30", text="report", repeat="FREQ=WEEKLY;BYDAY=MO,TH")
        assert told == (
            "Set: schedule 2, due Monday 2026-11-23 15:30 Europe/Berlin (2026-11-23T14:30:00Z)."
            " After that: Thursday 2026-11-26 15:30 Europe/Berlin (2026-11-26T14:30:00Z)."
            " It is now Saturday 2026-11-21 09:28:05 Europe/Berlin (2026-11-21T08:28:05Z)."
        )
        opened = await conversations.open_turn(database, await lease_of(database))
        assert opened.conversation.time_zone == "Europe/Berlin"
        told = await call(tool, caller, action="list", time_zone="America/New_York")
        assert told.splitlines()[1].startswith("1: Sunday 2026-11-22 03:00 America/New_York (2026-11-22T08:00:00Z)")
        assert "then FREQ=WEEKLY;BYDAY=MO,TH, message: report" in told
        assert await look(address, "SELECT time_zone FROM tenant") == [("America/New_York",)]

    run(scenario, address)


def test_the_same_call_again_tells_what_it_set_though_its_time_is_past(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        clock = datetime(2026, 11, 21, 8, 28, tzinfo=UTC)
        (tool,) = schedule_tools(StoreSchedules(database), lambda: clock)
        arguments = {"when": "2026-11-21T08:29Z", "text": "drink"}
        first = await tool.perform(caller, arguments)
        clock += timedelta(minutes=5)
        again = await tool.perform(caller, arguments)
        assert first.startswith("Set: schedule 1, due Saturday 2026-11-21T08:29:00Z.")
        assert again.startswith("Set: schedule 1, due Saturday 2026-11-21T08:29:00Z.")
        other = await tool.perform(replace(caller, call_id="other"), {**arguments, "when": "in 1 minute"})
        assert other.startswith("Set: schedule 2")

    run(scenario, address)
