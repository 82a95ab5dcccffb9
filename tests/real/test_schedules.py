"""Schedules against a real PostgreSQL: each happens once, when it is due, whoever keeps time and whoever dies."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.errors import Conflict, Exhausted, NotFound
from subclaw.core.event import ReplyQueued, ScheduleDue, TurnStarted
from subclaw.core.model import UserSaid
from subclaw.core.schedule import PENDING_LIMIT, Schedule, ScheduleMode
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolCall, ToolResult
from subclaw.core.turn import Lease
from subclaw.schedules.reminders import keep_time
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, connect, open_database
from subclaw.store.feed import StoreFeed
from subclaw.store.schedules import StoreSchedules, fire_due, next_due_s
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.tools.schedule import schedule_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

DEADLINE_S = 20
READ_IN_PLACE = frozenset({"web"})

AGENT = AgentSettings()


def run(scenario: Callable[[Database], Awaitable[None]], address: DatabaseAddress) -> None:
    async def main() -> None:
        async with open_database(address, Role.APP) as database, asyncio.timeout(4 * DEADLINE_S):
            await scenario(database)

    asyncio.run(main())


def now() -> datetime:
    return datetime.now(UTC)


async def receive(database: Database, *, sender: str = "a", channel: str = "web", id: str = "1") -> Caller:
    """Say something, and return who would call for the conversation."""
    message = InboundMessage(
        sender=Address(channel=channel, address=sender), provider_id=id, text="hello", received_at=now()
    )
    receipt = await conversations.receive(database, message, [f"name-{channel}-{sender.strip('+')}"])
    return Caller(
        tenant_id=receipt.tenant_id, conversation_id=receipt.conversation_id, call_id="call_1", turn_id="call_1"
    )


async def plan(
    database: Database, caller: Caller, *, in_s: float = 0, mode: ScheduleMode = ScheduleMode.MESSAGE, text: str = "now"
) -> Schedule:
    due_at = now() + timedelta(seconds=in_s)
    return await StoreSchedules(database).set(another(caller), due_at=due_at, mode=mode, text=text)


_count = iter(range(10**9))


def another(caller: Caller) -> Caller:
    """Return the same caller in another call."""
    return Caller(
        tenant_id=caller.tenant_id, conversation_id=caller.conversation_id, call_id=f"call_{next(_count)}", turn_id="x"
    )


async def fire(database: Database, limit: int = 100) -> int:
    return await fire_due(database, limit, READ_IN_PLACE)


async def look(address: DatabaseAddress, query: LiteralString) -> list[tuple[Any, ...]]:
    """Ask as the owner, who sees all."""
    async with await connect(address, Role.OWNER) as connection:
        return await (await connection.execute(query)).fetchall()


REPLIES: LiteralString = "SELECT body ->> 'text' FROM event WHERE type = 'reply.queued' ORDER BY conversation_id, seq"


KILL: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE ANY (ARRAY['%claim_due%', 'SELECT fire_claimed%'])"
    " AND pid <> pg_backend_pid()"
)


async def until(address: DatabaseAddress, query: LiteralString, count: int) -> list[tuple[Any, ...]]:
    async with asyncio.timeout(DEADLINE_S):
        while len(found := await look(address, query)) < count:
            await asyncio.sleep(0.01)
    return found


@asynccontextmanager
async def keeping_time(database: Database, address: DatabaseAddress, *, loops: int = 1) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(keep_time(database, address, read_in_place=READ_IN_PLACE)) for _ in range(loops)]
        yield
        for keeper in keepers:
            keeper.cancel()


async def lease_of(database: Database) -> Lease:
    (lease,) = await conversations.claim(database, 1, 10)
    return lease


def test_a_message_goes_to_the_person_and_is_told_to_the_model_later(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        one = await plan(database, caller, text="drink water")
        assert await fire(database) == 1
        opened = await conversations.open_turn(database, await lease_of(database))
        assert opened.events[0] == ReplyQueued(text="drink water", schedule_id=one.id)
        assert opened.events[1] == TurnStarted()
        assert await look(address, "SELECT * FROM outbox") == [], "a web chat is read in place"
        assert await look(address, "SELECT inbox_seq FROM conversation") == [(1,)], "the agent is not woken for it"

    run(scenario, address)


def test_a_message_by_a_provider_waits_in_the_outbox(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await plan(database, await receive(database, sender="+15550100", channel="sms"), text="drink water")
        assert await fire(database) == 1
        assert await look(address, "SELECT channel, address, text, state FROM outbox") == [
            ("sms", "+15550100", "drink water", "queued")
        ]
        assert await look(address, REPLIES) == [("drink water",)]

    run(scenario, address)


def test_an_agents_turn_begins_with_the_text_and_nobody_said_it(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        model = ScriptedModel([words("hi"), words("it rains tomorrow")])
        turns = Turns(
            database=database,
            model=model,
            toolbox=BuiltInToolbox([]),
            agent=AGENT,
            instructions=lambda _: "be kind",
            sends=lambda name: name != "web",
        )
        worker = asyncio.create_task(work(turns, address, limit=8))
        await until(address, REPLIES, 1)
        async with keeping_time(database, address):
            await plan(database, caller, mode=ScheduleMode.AGENT_TURN, text="tell the weather")
            assert await until(address, REPLIES, 2) == [("hi",), ("it rains tomorrow",)]
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        told = model.prompts[1].history[-1]
        assert isinstance(told, UserSaid)
        assert told.text.startswith("[Nobody wrote.")
        assert told.text.endswith("tell the weather")
        feed = StoreFeed(database, address).follow(Address(channel="web", address="a"), 0)
        said = [(await anext(feed), await anext(feed), await anext(feed))]
        await feed.aclose()
        assert "tell the weather" not in repr(said), "the person sees what the agent makes of it, and no more"

    run(scenario, address)


def test_what_is_due_in_the_middle_of_a_turn_is_folded_in_and_breaks_no_lease(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        lease = await lease_of(database)
        await conversations.open_turn(database, lease)
        sent = await plan(database, caller, text="sent")
        due = await plan(database, caller, text="do it", mode=ScheduleMode.AGENT_TURN)
        assert await fire(database) == 2
        said = await conversations.append(database, lease, [ReplyQueued(text="mine")], drain=True)
        assert said == (ScheduleDue(schedule_id=due.id, text="do it"),)
        events = (await conversations.open_turn(database, lease)).events
        assert events[2:] == (ReplyQueued(text="sent", schedule_id=sent.id), ReplyQueued(text="mine"), *said)
        seqs = await look(address, "SELECT seq FROM event ORDER BY seq")
        assert [seq for (seq,) in seqs] == [1, 2, 3, 4, 5]

    run(scenario, address)


def test_nothing_happens_before_it_is_due(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        assert await next_due_s(database) is None
        caller = await receive(database)
        await plan(database, caller, in_s=60)
        assert await fire(database) == 0
        left_s = await next_due_s(database)
        assert left_s is not None
        assert 50 < left_s <= 60
        await plan(database, caller, in_s=-5)
        left_s = await next_due_s(database)
        assert left_s is not None
        assert left_s < 0
        assert await fire(database) == 1

    run(scenario, address)


@pytest.mark.alone
@pytest.mark.parametrize("mode", list(ScheduleMode))
def test_it_happens_within_a_second_of_its_time(address: DatabaseAddress, mode: ScheduleMode) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        async with keeping_time(database, address):
            await plan(database, caller, in_s=3600)
            await plan(database, caller, in_s=1, mode=mode)
            fired: LiteralString = "SELECT extract(epoch FROM fired_at - due_at) FROM schedule WHERE state = 'fired'"
            ((late_s,),) = await until(address, fired, 1)
        assert 0 <= late_s < 1

    run(scenario, address)


def test_it_is_found_without_a_notification(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.schedules.reminders.TICK_S", 0.1)

    async def scenario(database: Database) -> None:
        caller = await receive(database)
        async with keeping_time(database, address):
            await plan(database, caller, in_s=3600)
            await look(address, "UPDATE schedule SET due_at = now() RETURNING id")
            await until(address, REPLIES, 1)

    run(scenario, address)


def test_many_at_once_happen_once_each_whoever_keeps_time(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        callers = [await receive(database, sender=sender) for sender in "abcdefgh"]
        async with keeping_time(database, address, loops=3):
            await asyncio.gather(
                *(plan(database, caller, in_s=0.3, text=f"{n}") for caller in callers for n in range(20)),
                *(plan(database, caller, in_s=0.3, mode=ScheduleMode.AGENT_TURN) for caller in callers),
            )
            await until(address, "SELECT id FROM schedule WHERE state = 'fired'", 8 * 21)
        replies = [text for (text,) in await look(address, REPLIES)]
        assert sorted(replies) == sorted([f"{n}" for n in range(20)] * 8)
        woken = await look(address, "SELECT provider_id FROM inbox WHERE provider_id LIKE 'schedule:%'")
        assert len(set(woken)) == len(woken) == 8
        assert await fire(database) == 0

    run(scenario, address)


def test_a_keeper_that_is_killed_loses_and_doubles_nothing(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        callers = [await receive(database, sender=sender) for sender in "abcd"]
        for caller in callers:
            for n in range(10):
                await plan(database, caller, text=f"{n}")
        interrupted = rounds = 0
        while await next_due_s(database) is not None:
            async with open_database(address, Role.APP, size=1) as doomed:
                firing = asyncio.create_task(fire(doomed, limit=3))
                for _ in range(rounds % 5):
                    await asyncio.sleep(0)
                await look(address, KILL)
                firing.cancel()
                (outcome,) = await asyncio.gather(firing, return_exceptions=True)
                interrupted += isinstance(outcome, BaseException)
                rounds += 1
        assert interrupted
        replies = [text for (text,) in await look(address, REPLIES)]
        assert replies == [f"{n}" for n in range(10)] * 4

    run(scenario, address)


def test_a_crash_in_the_middle_leaves_it_waiting(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        await plan(database, caller, text="drink water")
        await plan(database, caller, mode=ScheduleMode.AGENT_TURN)
        async with await connect(address, Role.APP) as dying:
            await dying.execute("BEGIN")
            claimed = await (await dying.execute("SELECT id FROM claim_due(10)")).fetchall()
            firings = Jsonb(
                [{"id": id, "happens": True, "preface": "", "missed": 0, "failure": ""} for (id,) in claimed]
            )
            cursor = await dying.execute("SELECT fire_claimed(%s, ARRAY['web'])", [firings])
            assert await cursor.fetchall() == [(2,)]
            assert await fire(database) == 0, "it is in another's hands, and nobody waits for that"
            await dying.close()
        assert await look(address, REPLIES) == []
        assert await fire(database) == 2
        assert await look(address, REPLIES) == [("drink water",)]

    run(scenario, address)


def test_a_conversation_in_use_holds_up_no_other(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        busy, free = await receive(database, sender="a"), await receive(database, sender="b")
        await plan(database, busy, text="busy")
        await plan(database, free, text="free")
        async with await connect(address, Role.OWNER) as connection:
            await connection.execute("BEGIN")
            await connection.execute("SELECT FROM conversation WHERE id = %s FOR UPDATE", [busy.conversation_id])
            assert await fire(database) == 1
            assert await look(address, REPLIES) == [("free",)]
        assert await fire(database) == 1
        assert await look(address, REPLIES) == [("busy",), ("free",)]

    run(scenario, address)


def test_the_same_call_sets_once(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller, schedules = await receive(database), StoreSchedules(database)
        first, again = [
            await schedules.set(caller, due_at=now() + timedelta(hours=n), mode=ScheduleMode.MESSAGE, text="x")
            for n in (1, 2)
        ]
        assert again == first
        assert await schedules.pending(caller.tenant_id) == [first]

    run(scenario, address)


def test_what_is_cancelled_does_not_happen(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller, schedules = await receive(database), StoreSchedules(database)
        one, other = await plan(database, caller, text="one"), await plan(database, caller, text="other")
        for _ in range(2):
            await schedules.cancel(caller.tenant_id, one.id)
        assert await schedules.pending(caller.tenant_id) == [other]
        assert await fire(database) == 1
        assert await look(address, REPLIES) == [("other",)]
        with pytest.raises(Conflict, match="happened already"):
            await schedules.cancel(caller.tenant_id, other.id)
        with pytest.raises(NotFound):
            await schedules.cancel(caller.tenant_id, 10**6)

    run(scenario, address)


def test_a_tenant_has_so_many_and_no_more(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller, other = await receive(database, sender="a"), await receive(database, sender="b")
        made = await asyncio.gather(
            *(plan(database, caller, in_s=60) for _ in range(PENDING_LIMIT + 5)), return_exceptions=True
        )
        refused = [error for error in made if isinstance(error, Exhausted)]
        assert len(refused) == 5
        assert str(PENDING_LIMIT) in refused[0].public
        assert len(await StoreSchedules(database).pending(caller.tenant_id)) == PENDING_LIMIT
        await plan(database, other, in_s=60)
        first = (await StoreSchedules(database).pending(caller.tenant_id))[0]
        await StoreSchedules(database).cancel(caller.tenant_id, first.id)
        await plan(database, caller, in_s=60)

    run(scenario, address)


def test_tenants_schedules_are_apart(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        mine, theirs = await receive(database, sender="a"), await receive(database, sender="b")
        one, schedules = await plan(database, theirs, in_s=60), StoreSchedules(database)
        assert await schedules.pending(mine.tenant_id) == []
        with pytest.raises(NotFound):
            await schedules.cancel(mine.tenant_id, one.id)
        crossed = Caller(tenant_id=mine.tenant_id, conversation_id=theirs.conversation_id, call_id="x", turn_id="x")
        with pytest.raises(psycopg.errors.RaiseException):
            await schedules.set(crossed, due_at=now(), mode=ScheduleMode.MESSAGE, text="into another's conversation")
        assert await schedules.pending(theirs.tenant_id) == [one]

    run(scenario, address)


def test_the_operator_sees_times_and_states_and_no_words(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await plan(database, await receive(database), in_s=60)
        async with await connect(address, Role.OPERATOR) as connection:
            cursor = await connection.execute("SELECT mode, state, fired_at FROM schedule")
            assert await cursor.fetchall() == [("message", "pending", None)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("SELECT text FROM schedule")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("SELECT * FROM claim_due(1)")

    run(scenario, address)


def test_the_tool_sets_lists_and_cancels(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        toolbox = BuiltInToolbox(schedule_tools(StoreSchedules(database), now))

        async def call(**arguments: object) -> ToolResult:
            made = ToolCall(id="x", name="schedule_notification", arguments=json.dumps(arguments))
            return await toolbox.perform(another(caller), made)

        assert (await call(text="drink", when="in 1 minute")).content.startswith("Set: schedule 1, due ")
        later = (now() + timedelta(days=2)).isoformat(timespec="seconds")
        assert not (await call(text="water the plants", when=later, mode="agent_turn")).is_error
        listed = (await call(action="list")).content.splitlines()
        assert listed[0].startswith("It is now ")
        assert [line.partition(": ")[0] for line in listed[1:]] == ["1", "2"]
        assert listed[2].endswith("agent_turn: water the plants")
        assert (await call(action="cancel", id=1.0)).content == "Schedule 1 is cancelled."
        assert len((await call(action="list")).content.splitlines()) == 2
        for arguments, told in (
            ({"text": "x"}, "when is missing"),
            ({"text": "x", "when": "2020-01-01 09:00Z"}, "past"),
            ({"text": "x", "when": "tomorrow at 9"}, "time zone is not known"),
            ({"text": "x", "when": "in 1 minute", "repeat": "FREQ=DAILY"}, "time zone is not known"),
            ({"text": "x", "when": "in 1 minute", "time_zone": "Europe/Atlantis"}, "no time zone"),
            ({"text": " \0 ", "when": "in 1 minute"}, "empty"),
            ({"when": "in 1 minute"}, "text is missing"),
            ({"action": "cancel"}, "id is missing"),
            ({"action": "cancel", "id": 99}, "no schedule 99"),
            ({"action": "stop"}, "action"),
            ({"text": "x", "when": None}, "not of type 'string'"),
        ):
            result = await call(**arguments)
            assert result.is_error
            assert told in result.content

    run(scenario, address)


def test_a_call_that_a_dead_worker_had_made_sets_no_second_one(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        class DiesOnceAfterwards(StoreSchedules):
            dead = asyncio.Event()

            async def set(self, caller: Caller, **planned: Any) -> Schedule:
                kept = await super().set(caller, **planned)
                if not self.dead.is_set():
                    self.dead.set()
                    await asyncio.Event().wait()
                return kept

        schedules = DiesOnceAfterwards(database)
        turns = Turns(
            database=database,
            model=ScriptedModel(
                [calls(("schedule_notification", '{"text": "drink", "when": "in 9 minutes"}')), words("ok")]
            ),
            toolbox=BuiltInToolbox(schedule_tools(schedules, now)),
            agent=AGENT,
            instructions=lambda _: "be kind",
            sends=lambda name: name != "web",
        )
        caller = await receive(database)
        first = asyncio.create_task(work(turns, address, limit=8))
        await schedules.dead.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(work(turns, address, limit=8))
        assert await until(address, REPLIES, 1) == [("ok",)]
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert len(await schedules.pending(caller.tenant_id)) == 1

    run(scenario, address)


def test_a_tenant_that_goes_takes_its_schedules_along(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        caller = await receive(database)
        await plan(database, caller, in_s=-1)
        await plan(database, caller, in_s=60)
        assert await fire(database) == 1
        async with await connect(address, Role.OWNER) as connection:
            await connection.execute("DELETE FROM tenant WHERE id = %s", [TenantId(caller.tenant_id)])
        assert await look(address, "SELECT id FROM schedule") == []
        assert await next_due_s(database) is None

    run(scenario, address)
