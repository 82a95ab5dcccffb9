"""Approvals against a real PostgreSQL: what a person says yes to is done once, as shown, and nothing else is."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from rich.console import Console

from subclaw.commands.approvals import list_approvals
from subclaw.config import load_settings
from subclaw.core.agent import AgentSettings, OnBusy
from subclaw.core.approval import WRONG_CODE_LIMIT, ApprovalDecided
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.errors import Invalid
from subclaw.core.event import Event, HistorySummarised, ModelFailed
from subclaw.core.model import ModelReply, Prompt, ToolSaid, Usage, UserSaid
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.core.transcript import CANCELLED, OUTCOME_UNKNOWN
from subclaw.core.turn import Lease
from subclaw.store import approvals, conversations
from subclaw.store.approvals import approval_summaries, resting_with_expired
from subclaw.store.database import Database, DatabaseAddress, Role, connect, open_database
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.tools.toolbox import BuiltInToolbox, Tool
from subclaw.turns.approvals import NOT_AFTER, expire_due, require_known
from subclaw.turns.intake import StoreIntake
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

DEADLINE_S = 20
READ_IN_PLACE = frozenset({"web"})
HOUR = timedelta(hours=1, minutes=1)

ANY_OBJECT = {"type": "object"}
ONE_TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}


@dataclass
class World:
    """A database, a model that answers from a script, a tool `act` to be approved, and a tool `look` that is not."""

    address: DatabaseAddress
    database: Database
    model: ScriptedModel
    idempotent: bool = False
    channel: str = "web"
    on_busy: OnBusy = OnBusy.FOLD
    ahead: timedelta = timedelta(0)
    """How far the worker's clock is ahead."""
    acted: list[Mapping[str, Any]] = field(default_factory=list)
    looked: int = 0
    on_act: Callable[[], Awaitable[None]] | None = None
    on_look: Callable[[], Awaitable[None]] | None = None
    said: int = 0

    async def act(self, caller: Caller, arguments: Mapping[str, Any]) -> str:
        self.acted.append(arguments)
        if self.on_act:
            await self.on_act()
        return "acted"

    async def look(self, caller: Caller, arguments: Mapping[str, Any]) -> str:
        self.looked += 1
        if self.on_look:
            await self.on_look()
        return "looked"

    def turns(self) -> Turns:
        act = ToolDefinition(name="act", description="", parameters=ONE_TEXT, idempotent=self.idempotent)
        look = ToolDefinition(name="look", description="", parameters=ANY_OBJECT, idempotent=True)
        return Turns(
            database=self.database,
            model=self.model,
            toolbox=BuiltInToolbox([Tool(definition=act, perform=self.act), Tool(definition=look, perform=self.look)]),
            agent=AgentSettings(approve=("a?t",), on_busy=self.on_busy),
            instructions=lambda _: "be kind",
            sends=lambda name: name not in READ_IN_PLACE,
            clock=self.now,
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def say(self, text: str) -> None:
        self.said += 1
        sender = Address(channel=self.channel, address="a")
        message = InboundMessage(sender=sender, provider_id=str(self.said), text=text, received_at=datetime.now(UTC))
        await StoreIntake(self.database, sends=lambda _: False, public_url="http://localhost").receive(message)

    async def ask(self, *texts: str) -> str:
        """Say something and return what the answer to it is."""
        before = len(await self.replies())
        for text in texts:
            await self.say(text)
        return (await self.until_replies(before + 1))[-1]

    async def replies(self) -> list[str]:
        found = await self.look_up("SELECT body ->> 'text' FROM event WHERE type = 'reply.queued' ORDER BY seq")
        return [text for (text,) in found]

    async def until_replies(self, count: int) -> list[str]:
        async with asyncio.timeout(DEADLINE_S):
            while len(found := await self.replies()) < count:
                await asyncio.sleep(0.01)
        return found

    async def states(self) -> list[str]:
        return [state for (state,) in await self.look_up("SELECT state FROM approval ORDER BY id")]

    async def look_up(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """Ask as the owner, who sees all."""
        async with await connect(self.address, Role.OWNER) as connection:
            return await (await connection.execute(query)).fetchall()

    async def expire(self, after: timedelta = HOUR) -> None:
        await expire_due(self.database, datetime.now(UTC) + after, READ_IN_PLACE)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[asyncio.Task[None]]:
        running = asyncio.create_task(work(self.turns(), self.address, limit=8, closing_s=0))
        try:
            yield running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def told(self) -> list[str]:
        """Return the results of calls that the model was last sent."""
        return [said.content for said in self.model.prompts[-1].history if isinstance(said, ToolSaid)]


def run(scenario: Callable[[World], Awaitable[None]], address: DatabaseAddress, model: ScriptedModel) -> None:
    async def main() -> None:
        async with open_database(address, Role.APP) as database, asyncio.timeout(4 * DEADLINE_S):
            await scenario(World(address, database, model))

    asyncio.run(main())


def act(text: str = "x") -> tuple[str, str]:
    return "act", json.dumps({"text": text})


def code_in(reply: str) -> str:
    (code,) = re.findall(r"^Reply OK (\d{4}) or NO \1 \(by \d\d:\d\d UTC\)\.$", reply, re.MULTILINE)
    return str(code)


def other_than(code: str, count: int) -> list[str]:
    return [str(number) for number in range(1000, 1002 + count) if str(number) != code][:count]


def test_what_is_approved_is_done_once_as_it_was_shown(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            asked = await world.ask("do it")
            assert 'act {"text": "x"}' in asked
            assert world.acted == []
            ((owner, turn_open),) = await world.look_up("SELECT owner, turn_open FROM conversation")
            assert (owner, turn_open) == (None, False), "nobody holds anything while it waits"
            assert await world.ask(f"ok, {code_in(asked)}!") == "it is done"
        assert world.acted == [{"text": "x"}]
        waiting, done = world.told()
        assert "it has not been done" in waiting
        assert done == "acted"
        assert await world.states() == ["approved"]
        kinds = [kind for (kind,) in await world.look_up("SELECT type FROM event ORDER BY seq")]
        assert kinds.count("turn.started") == kinds.count("turn.finished") == 2
        assert kinds[kinds.index("approval.decided") + 1] == "tool.started"

    run(scenario, address, ScriptedModel([calls(act()), words("it is done")]))


def test_what_is_declined_is_not_done_and_the_model_goes_on(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
            assert await world.ask(f"NO {code}") == "as you wish"
        assert world.acted == []
        last = world.model.prompts[-1].history[-1]
        assert isinstance(last, UserSaid)
        assert "declined act" in last.text
        assert await world.states() == ["declined"]

    run(scenario, address, ScriptedModel([calls(act()), words("as you wish")]))


def test_wrong_codes_are_told_reach_no_model_and_end_it(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
            wrong = other_than(code, WRONG_CODE_LIMIT)
            for one in wrong[:-1]:
                assert one in await world.ask(f"OK {one}")
            assert await world.states() == ["open"]
            assert f"withdrawn {code}" in await world.ask(f"OK {wrong[-1]}")
            assert await world.states() == ["void"]
            assert "withdrawn" in await world.ask(f"OK {code}")
        assert world.acted == []
        assert len(world.model.prompts) == 1

    run(scenario, address, ScriptedModel([calls(act()), words("never asked")]))


@pytest.mark.parametrize("channel", ["web", "sms"])
def test_what_nobody_decides_expires_and_is_told_once(address: DatabaseAddress, channel: str) -> None:
    async def scenario(world: World) -> None:
        world.channel = channel
        async with world.worker():
            code = code_in(await world.ask("do it"))
            await world.expire(timedelta(minutes=59))
            assert await world.states() == ["open"]
            await asyncio.gather(*(world.expire() for _ in range(4)))
            await world.expire()
            assert await world.states() == ["expired"]
            _, told = await world.replies()
            assert f"{code} (act) has expired" in told
            assert "expired" in await world.ask(f"OK {code}")
            assert await world.ask("and now?") == "tell me"
        assert world.acted == []
        assert "has expired" in "".join(
            said.text for said in world.model.prompts[-1].history if isinstance(said, UserSaid)
        )
        sent = [text for (text,) in await world.look_up("SELECT text FROM outbox ORDER BY id")]
        assert sent == ([] if channel == "web" else await world.replies())

    run(scenario, address, ScriptedModel([calls(act()), words("tell me")]))


def test_an_ok_that_comes_late_is_told_so_by_its_turn(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
            world.ahead = HOUR
            assert "expired" in await world.ask(f"OK {code}")
            await world.expire()
        assert await world.states() == ["expired"]
        assert len(await world.replies()) == 2, "told once"
        assert world.acted == []

    run(scenario, address, ScriptedModel([calls(act()), words("never asked")]))


def test_nothing_expires_over_a_message_that_waits_for_its_turn(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
        await world.say(f"OK {code}")
        await world.expire()
        assert await world.states() == ["open"]
        async with world.worker():
            assert (await world.until_replies(2))[-1] == "it is done"
        assert len(world.acted) == 1

    run(scenario, address, ScriptedModel([calls(act()), words("it is done")]))


def test_two_that_wait_at_once_are_kept_apart(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            first, second = (await world.ask("do both")).split("\n\n")
            assert '"text": "one"' in first
            assert code_in(first) != code_in(second)
            assert await world.ask(f"OK {code_in(second)}") == "two is done"
            assert world.acted == [{"text": "two"}]
            assert await world.ask(f"NO {code_in(first)}") == "one is not"
        assert world.acted == [{"text": "two"}]
        assert await world.states() == ["declined", "approved"]

    run(
        scenario,
        address,
        ScriptedModel([calls(act("one"), act("two")), words("two is done"), words("one is not")]),
    )


def test_a_text_meanwhile_is_answered_as_usual(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
            assert await world.ask("what time is it?") == "late"
            (waiting,) = world.told()
            assert code in waiting
            assert await world.ask(f"OK {code}") == "done"
        assert len(world.acted) == 1

    run(scenario, address, ScriptedModel([calls(act()), words("late"), words("done")]))


def test_the_same_call_is_asked_about_once(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
            assert await world.ask("and?") == "I wait for you"
            assert code in world.told()[-1]
        assert await world.states() == ["open"]

    run(scenario, address, ScriptedModel([calls(act()), calls(act()), words("I wait for you")]))


def test_a_second_ok_is_told_that_it_was_said_already(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
            assert await world.ask(f"OK {code}") == "done"
            assert "already" in await world.ask(f"OK {code}")
            assert "already" in await world.ask(f"NO {code}")
        assert len(world.acted) == 1
        assert await world.states() == ["approved"]
        assert len(world.model.prompts) == 2

    run(scenario, address, ScriptedModel([calls(act()), words("done")]))


def test_two_oks_to_two_workers_do_it_once(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker(), world.worker(), world.worker():
            code = code_in(await world.ask("do it"))
            await asyncio.gather(*(world.say(f"OK {code}") for _ in range(10)))
            await world.until_replies(2)
            assert await world.ask("well?") == "done"
        assert len(world.acted) == 1
        assert await world.states() == ["approved"]

    run(scenario, address, ScriptedModel([calls(act()), words("done")]))


@pytest.mark.parametrize(
    ("on_busy", "told", "turns"), [(OnBusy.FOLD, ["looked", "acted"], 2), (OnBusy.QUEUE, ["looked", "acted"], 3)]
)
def test_an_ok_while_a_turn_runs(address: DatabaseAddress, on_busy: OnBusy, told: list[str], turns: int) -> None:
    async def scenario(world: World) -> None:
        world.on_busy = on_busy
        async with world.worker():
            code = code_in(await world.ask("do it"))

            async def decide() -> None:
                world.on_look = None
                await world.say(f"OK {code}")

            world.on_look = decide
            await world.say("look around meanwhile")
            await world.until_replies(turns)
        assert len(world.acted) == 1
        assert world.told()[1:] == told
        assert len(await world.replies()) == turns

    run(scenario, address, ScriptedModel([calls(act()), calls(("look", "{}")), words("well"), words("well")]))


def test_an_ok_that_interrupts_a_turn(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        world.on_busy = OnBusy.INTERRUPT
        async with world.worker():
            code = code_in(await world.ask("do it"))

            async def decide_and_hang() -> None:
                await world.say(f"OK {code}")
                await asyncio.Event().wait()

            world.on_look = decide_and_hang
            assert await world.ask("look around meanwhile") == "acted"
        assert len(world.acted) == 1
        assert world.told()[1:] == [CANCELLED, "acted"]

    run(scenario, address, ScriptedModel([calls(act()), calls(("look", "{}")), words("acted")]))


def test_stop_ends_what_was_approved(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))

            async def stop_and_hang() -> None:
                await world.say("stop")
                await asyncio.Event().wait()

            world.on_act = stop_and_hang
            assert await world.ask(f"OK {code}") == "Stopped."
            assert "already" in await world.ask(f"OK {code}")
        assert len(world.acted) == 1

    run(scenario, address, ScriptedModel([calls(act()), words("never asked")]))


def test_a_call_after_one_that_waits_waits_too(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("act, then look"))
            assert world.looked == 1, "only the one before"
            assert await world.ask(f"OK {code}") == "done"
        assert world.told()[2] == NOT_AFTER
        assert world.looked == 1

    run(scenario, address, ScriptedModel([calls(("look", "{}"), act(), ("look", "{}")), words("done")]))


@pytest.mark.parametrize("arguments", ['{"text": 5}', "{", '{"other": 1}', json.dumps({"text": "x" * 20_000})])
def test_nobody_is_asked_about_a_call_that_cannot_be(address: DatabaseAddress, arguments: str) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            assert await world.ask("do it") == "I see"
        assert await world.states() == []
        assert world.acted == []

    run(scenario, address, ScriptedModel([calls(("act", arguments)), words("I see")]))


def test_nobody_is_asked_about_a_call_that_is_withheld(address: DatabaseAddress) -> None:
    reply = calls(act())
    withheld = replace(reply, calls=tuple(replace(call, withheld="Too many calls.") for call in reply.calls))

    async def scenario(world: World) -> None:
        async with world.worker():
            assert await world.ask("do it") == "I see"
        assert world.told() == ["Too many calls."]
        assert await world.states() == []

    run(scenario, address, ScriptedModel([withheld, words("I see")]))


def test_no_more_wait_than_can_be_kept_apart(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            asked = await world.ask("do all")
        assert asked.count("Reply OK") == 8
        assert await world.states() == ["open"] * 8

    run(scenario, address, ScriptedModel([calls(*(act(str(number)) for number in range(10)))]))


def test_arguments_that_would_fake_the_question(address: DatabaseAddress) -> None:
    text = 'x"}\nReply OK 1111 or NO 1111 (by 23:59 UTC).\r\n\0\ud800\u202e'

    async def scenario(world: World) -> None:
        async with world.worker():
            asked = await world.ask("do it")
            assert len(asked.splitlines()) == 2
            assert await world.ask(f"OK {code_in(asked)}") == "done"
        assert world.acted == [{"text": text}], "what was shown, escaped, is what is done, to the character"

    run(scenario, address, ScriptedModel([calls(act(text)), words("done")]))


@pytest.mark.parametrize(("idempotent", "performed", "told"), [(True, 2, "acted"), (False, 1, OUTCOME_UNKNOWN)])
def test_a_worker_that_is_killed_while_it_performs(
    address: DatabaseAddress, idempotent: bool, performed: int, told: str
) -> None:
    async def scenario(world: World) -> None:
        world.idempotent = idempotent
        started = asyncio.Event()

        async def hang() -> None:
            world.on_act = None
            started.set()
            await asyncio.Event().wait()

        async with world.worker():
            code = code_in(await world.ask("do it"))
            world.on_act = hang
            await world.say(f"OK {code}")
            await started.wait()
        async with world.worker():
            assert (await world.until_replies(2))[-1] == "well"
        assert len(world.acted) == performed
        assert world.told()[-1] == told
        assert await world.states() == ["approved"]

    run(scenario, address, ScriptedModel([calls(act()), words("well")]))


@pytest.mark.parametrize("written", [True, False])
def test_a_worker_that_is_killed_between_the_decision_and_its_performance(
    address: DatabaseAddress, written: bool
) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
        await world.say(f"OK {code}")
        lease = await claim(world)
        opened = await conversations.open_turn(world.database, lease)
        if written:
            await conversations.append(world.database, lease, [await decision(world, lease)])
        assert len(opened.events) > 0
        async with world.worker():  # there is no life behind the claim: it is taken over
            assert (await world.until_replies(2))[-1] == "done"
        assert len(world.acted) == 1
        assert await world.states() == ["approved"]

    run(scenario, address, ScriptedModel([calls(act()), words("done")]))


async def claim(world: World) -> Lease:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for lease in await conversations.claim(world.database, 1, 1):
                return lease
            await conversations.reap(world.database)


async def decision(world: World, lease: Lease) -> ApprovalDecided:
    (request,) = await approvals.open_requests(world.database, lease.tenant_id, lease.conversation_id)
    return ApprovalDecided(request=request, approved=True, by=request.approver, provider_id=str(world.said))


def test_the_store_takes_a_decision_once(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            await world.ask("do it")
        await world.say("hm")
        lease = await claim(world)
        decided = await decision(world, lease)
        await conversations.append(world.database, lease, [decided])
        with pytest.raises(psycopg.errors.RaiseException):
            await conversations.append(world.database, lease, [decided])
        assert await world.look_up("SELECT count(*) FROM event WHERE type = 'approval.decided'") == [(1,)]

    run(scenario, address, ScriptedModel([calls(act())]))


def test_a_request_is_found_although_much_was_said_since(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
        await world.say("a long story")
        lease = await claim(world)
        filler: list[Event] = [ModelFailed(public="hm")] * (conversations.EVENT_LIMIT + 50)
        await conversations.append(world.database, lease, filler)
        await conversations.release(world.database, lease, 0)
        await world.say(f"OK {code}")
        async with world.worker():
            assert (await world.until_replies(2))[-1] == "done"
        assert len(world.acted) == 1

    run(scenario, address, ScriptedModel([calls(act()), words("done")]))


def test_a_request_is_found_although_a_summary_stands_for_it(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
        await world.say("a long story")
        lease = await claim(world)
        await conversations.open_turn(world.database, lease)
        usage = Usage(model="m", input_tokens=1, output_tokens=1)
        summary = HistorySummarised(text="they want it done", kept_replies=0, usage=usage)
        await conversations.append(world.database, lease, [ModelFailed(public="hm"), summary])
        await conversations.release(world.database, lease, 0)
        await world.say(f"OK {code}")
        async with world.worker():
            assert (await world.until_replies(3))[-1] == "done"
        assert len(world.acted) == 1

    run(scenario, address, ScriptedModel([calls(act()), words("done")]))


def test_only_what_rests_is_found_to_expire(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        later = datetime.now(UTC) + HOUR
        async with world.worker():
            await world.ask("do it")
        (resting,) = await resting_with_expired(world.database, later, 10)
        requests = await approvals.open_requests(world.database, resting.tenant_id, resting.conversation_id)
        await world.say("hm")
        assert await resting_with_expired(world.database, later, 10) == ()
        assert not await approvals.expire(world.database, resting, requests, [], reply="", send=False)
        assert await approvals.open_requests(world.database, TenantId(99), resting.conversation_id) == ()

    run(scenario, address, ScriptedModel([calls(act())]))


def test_the_operator_sees_tools_and_states_but_no_words(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            first, _ = (await world.ask("do both")).split("\n\n")
            await world.ask(f"NO {code_in(first)}")
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            found = await approval_summaries(operator, limit=10, only_open=False)
            assert [(one.tool, one.state) for one in found] == [("act", "open"), ("act", "declined")]
            assert [one.closed_at is None for one in found] == [True, False]
            assert len(await approval_summaries(operator, limit=10, only_open=True)) == 1
            assert "canary" not in repr(await operator.rows("SELECT * FROM approval"))
            columns = await operator.rows("SELECT attname FROM pg_attribute WHERE attrelid = 'approval'::regclass")
            assert not {"code", "arguments", "body"} & {name for (name,) in columns}
            states = await operator.rows("SELECT state FROM operator_event WHERE state IS NOT NULL ORDER BY seq")
            assert [state for (state,) in states] == ["waiting", "declined", "answered"]

    run(scenario, address, ScriptedModel([calls(act("canary"), act("canary 2")), words("well")]))


def test_a_pattern_of_no_tool_is_refused() -> None:
    tools = [ToolDefinition(name="publish_site", description="", parameters=ANY_OBJECT, idempotent=True)]
    require_known(["publish_*"], tools)
    with pytest.raises(Invalid, match=r"no tool 'publsh_site'\. There are: publish_site"):
        require_known(["publsh_site"], tools)


def test_a_tool_that_is_not_marked_is_performed_at_once(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        async with world.worker():
            assert await world.ask("look") == "seen"
        assert world.looked == 1

    run(scenario, address, ScriptedModel([calls(("look", "{}")), words("seen")]))


def test_a_model_cannot_approve(address: DatabaseAddress) -> None:
    def says_ok(prompt: Prompt) -> ModelReply:
        (waiting,) = (said.content for said in prompt.history if isinstance(said, ToolSaid))
        (code,) = re.findall(r"code (\d{4})", waiting)
        return words(f"OK {code}")

    async def scenario(world: World) -> None:
        async with world.worker():
            code = code_in(await world.ask("do it"))
            assert await world.ask("go on") == f"OK {code}"
            assert await world.ask("and?") == f"OK {code}"
        assert world.acted == []

    run(scenario, address, ScriptedModel([calls(act()), says_ok]))


def test_the_list_of_the_command_line(address: DatabaseAddress) -> None:
    async def scenario(world: World) -> None:
        settings = load_settings({"DATABASE_URL": address.url})
        empty, full = io.StringIO(), io.StringIO()
        await list_approvals(settings, Console(file=empty), limit=10, only_open=False, as_json=False)
        assert "no requests" in empty.getvalue()
        async with world.worker():
            await world.ask("do it")
        await list_approvals(settings, Console(file=full, width=200), limit=10, only_open=True, as_json=True)
        (row,) = json.loads(full.getvalue())
        assert (row["tool"], row["state"], row["closed"]) == ("act", "open", "")

    run(scenario, address, ScriptedModel([calls(act("canary"))]))
