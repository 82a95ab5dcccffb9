"""Messages that come while a turn runs: what they do to it, by the operator's choice; and the word that stops it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
from tests.real.test_turns import DEADLINE_S, replies, say, toolbox, until_replies

from subclaw.core.agent import AgentSettings, OnBusy
from subclaw.core.model import Prompt, ToolSaid, UserSaid
from subclaw.core.tool import Caller
from subclaw.core.transcript import CANCELLED, OVERDUE
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.turns.run import BUSY, Turns
from subclaw.turns.worker import work

STOP_S = 1.0
"""Within how long what is under way must end once somebody says stop."""

ACT = calls(("act", "{}"))


@dataclass
class Act:
    """A tool that begins, and goes on until it is let go or cancelled."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    times: int = 0

    async def __call__(self, caller: Caller, arguments: Mapping[str, Any]) -> str:
        self.times += 1
        self.begun.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "done"


@dataclass
class Scene:
    """A worker at work, on the database that the test says things to."""

    database: Database
    address: DatabaseAddress
    turns: Turns
    said: int = 0

    async def say(self, text: str) -> None:
        """Say something in the conversation."""
        self.said += 1
        await say(self.database, text, str(self.said))


@asynccontextmanager
async def scene(
    address: DatabaseAddress, model: ScriptedModel, act: Act, agent: AgentSettings, *, idempotent: bool = False
) -> AsyncIterator[Scene]:
    """Run a worker for the block."""
    async with open_database(address, Role.APP) as database:
        turns = Turns(
            database=database,
            model=model,
            toolbox=toolbox(act, idempotent=idempotent),
            agent=agent,
            instructions=lambda _: "be kind",
            sends=lambda name: name == "sms",
        )
        async with working(turns, address):
            yield Scene(database=database, address=address, turns=turns)


@asynccontextmanager
async def working(turns: Turns, address: DatabaseAddress) -> AsyncIterator[None]:
    """Run one worker for the block."""
    worker = asyncio.create_task(work(turns, address, limit=64, closing_s=0))
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


def outcomes(address: DatabaseAddress) -> list[str]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        rows = connection.execute("SELECT body ->> 'outcome' FROM event WHERE type = 'turn.finished' ORDER BY seq")
        return [outcome for (outcome,) in rows]


def said_to(prompt: Prompt) -> list[str]:
    return [said.text for said in prompt.history if isinstance(said, UserSaid)]


def told_to(prompt: Prompt) -> list[str]:
    return [said.content for said in prompt.history if isinstance(said, ToolSaid)]


@pytest.mark.alone
@pytest.mark.parametrize("on_busy", OnBusy)
@pytest.mark.parametrize("word", ["stop", " Stop! "])
def test_stop_ends_a_tool_within_a_second(address: DatabaseAddress, on_busy: OnBusy, word: str) -> None:
    async def scenario() -> None:
        act, model = Act(), ScriptedModel([ACT, words("well")])
        async with scene(address, model, act, AgentSettings(on_busy=on_busy)) as here:
            await here.say("go")
            await act.begun.wait()
            began_s = time.monotonic()
            await here.say(word)
            await act.cancelled.wait()
            assert await until_replies(address, 1) == ["Stopped."]
            assert time.monotonic() - began_s < STOP_S
            await here.say("how are you?")
            assert await until_replies(address, 2) == ["Stopped.", "well"]
        assert told_to(model.prompts[-1]) == [CANCELLED]
        assert outcomes(address) == ["stopped", "answered"]

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


@pytest.mark.alone
def test_stop_ends_a_call_of_the_model(address: DatabaseAddress) -> None:
    class Slow(ScriptedModel):
        asked = asyncio.Event()

        async def ask(self, prompt: Prompt) -> Any:
            self.asked.set()
            await asyncio.Event().wait()

    async def scenario() -> None:
        model = Slow([words("never")])
        async with scene(address, model, Act(), AgentSettings()) as here:
            await here.say("go")
            await model.asked.wait()
            began_s = time.monotonic()
            await here.say("stop")
            assert await until_replies(address, 1) == ["Stopped."]
            assert time.monotonic() - began_s < STOP_S

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_stop_with_nothing_to_stop_asks_no_model(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        model = ScriptedModel([words("never")])
        async with scene(address, model, Act(), AgentSettings()) as here:
            await here.say("stop")
            assert await until_replies(address, 1) == ["There is nothing to stop."]
        assert not model.prompts

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_what_is_said_after_stop_is_answered(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        act, model = Act(), ScriptedModel([ACT, words("as you say")])
        async with scene(address, model, act, AgentSettings()) as here:
            await here.say("go")
            await act.begun.wait()
            await here.say("stop")
            await here.say("do that instead")
            # They may be heard at once or one after the other.
            while (await until_replies(address, 1))[-1] != "as you say":
                await asyncio.sleep(0.01)
        assert act.cancelled.is_set()
        assert said_to(model.prompts[-1]) == ["go", "stop", "do that instead"]

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_queued_messages_have_a_turn_of_their_own(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        act, model = Act(), ScriptedModel([ACT, words("one"), words("two")])
        async with scene(address, model, act, AgentSettings(on_busy=OnBusy.QUEUE)) as here:
            await here.say("first")
            await act.begun.wait()
            await here.say("second")
            act.let_go.set()
            assert await until_replies(address, 2) == ["one", "two"]
        assert [said_to(prompt) for prompt in model.prompts[1:]] == [["first"], ["first", "second"]]

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_a_message_that_interrupts_is_answered_instead(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        act, model = Act(), ScriptedModel([ACT, words("two")])
        async with scene(address, model, act, AgentSettings(on_busy=OnBusy.INTERRUPT)) as here:
            await here.say("first")
            await act.begun.wait()
            await here.say("second")
            await act.cancelled.wait()
            assert await until_replies(address, 1) == ["two"]
        assert said_to(model.prompts[-1]) == ["first", "second"]
        assert told_to(model.prompts[-1]) == [CANCELLED]
        assert outcomes(address) == ["interrupted", "answered"]

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_a_message_that_is_turned_away_is_answered_at_once(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        act, model = Act(), ScriptedModel([ACT, words("one"), words("three")])
        async with scene(address, model, act, AgentSettings(on_busy=OnBusy.REJECT)) as here:
            await here.say("first")
            await act.begun.wait()
            await here.say("second")
            assert await until_replies(address, 1) == [BUSY]
            act.let_go.set()
            assert await until_replies(address, 2) == [BUSY, "one"]
            await here.say("third")
            assert await until_replies(address, 3) == [BUSY, "one", "three"]
        assert said_to(model.prompts[-1]) == ["first", "third"]

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_a_turn_that_takes_too_long_is_ended_in_words(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        act, model = Act(), ScriptedModel([ACT, words("well")])
        async with scene(address, model, act, AgentSettings(turn_limit_s=1)) as here:
            await here.say("go")
            await act.cancelled.wait()
            assert await until_replies(address, 1) == [OVERDUE]
            await here.say("how are you?")
            assert await until_replies(address, 2) == [OVERDUE, "well"]
        assert outcomes(address) == ["stuck", "answered"]

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_stop_is_heard_by_whoever_takes_the_turn_over(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        act, model = Act(), ScriptedModel([ACT, words("never")])
        async with scene(address, model, act, AgentSettings(), idempotent=True) as here:
            await here.say("go")
            await act.begun.wait()
            turns = here.turns
        async with open_database(address, Role.APP) as database:
            await say(database, "stop", "later")
            async with working(replace(turns, database=database), address):
                assert await until_replies(address, 1) == ["Stopped."]
        assert act.times == 1, "what had begun was not begun again"
        assert replies(address) == ["Stopped."]

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
