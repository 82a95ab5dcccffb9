"""Turns against a real PostgreSQL: answered once, folded in order, taken over after a crash."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.errors import SubclawError, Unauthenticated, Unavailable
from subclaw.core.manners import CUT_OFF
from subclaw.core.model import ModelReply, Prompt, ToolSaid, UserSaid
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.core.transcript import OUTCOME_UNKNOWN
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.tools.toolbox import BuiltInToolbox, Perform, Tool
from subclaw.turns.intake import StoreIntake
from subclaw.turns.run import FAILURE_LIMIT, GIVEN_UP, Turns
from subclaw.turns.worker import work

DEADLINE_S = 20

AGENT = AgentSettings()


def toolbox(perform: Perform, *, idempotent: bool = False) -> BuiltInToolbox:
    definition = ToolDefinition(name="act", description="", parameters={"type": "object"}, idempotent=idempotent)
    return BuiltInToolbox([Tool(definition=definition, perform=perform)])


async def done(caller: Caller, arguments: Mapping[str, Any]) -> str:
    return "done"


def turns(database: Database, model: ScriptedModel, tools: BuiltInToolbox) -> Turns:
    return Turns(
        database=database,
        model=model,
        toolbox=tools,
        agent=AGENT,
        instructions=lambda _: "be kind",
        sends=lambda name: name == "sms",
    )


async def say(database: Database, text: str, provider_id: str, channel: str = "web") -> None:
    sender = Address(channel=channel, address="a")
    message = InboundMessage(sender=sender, provider_id=provider_id, text=text, received_at=datetime.now(UTC))
    await StoreIntake(database, sends=lambda _: False, public_url="http://localhost").receive(message)


def replies(address: DatabaseAddress) -> list[str]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        rows = connection.execute("SELECT body ->> 'text' FROM event WHERE type = 'reply.queued' ORDER BY seq")
        return [text for (text,) in rows]


async def until_replies(address: DatabaseAddress, count: int) -> list[str]:
    async with asyncio.timeout(DEADLINE_S):
        while len(found := await asyncio.to_thread(replies, address)) < count:
            await asyncio.sleep(0.01)
    return found


async def answer(
    address: DatabaseAddress,
    model: ScriptedModel,
    *texts: str,
    tools: BuiltInToolbox | None = None,
    channel: str = "web",
) -> list[str]:
    """Say texts one after the other, each after the reply to the one before; return the replies."""
    async with open_database(address, Role.APP) as database:
        worker = asyncio.create_task(
            work(turns(database, model, tools or toolbox(done)), address, limit=8, closing_s=0)
        )
        for number, text in enumerate(texts):
            await say(database, text, str(number), channel)
            await until_replies(address, number + 1)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    return replies(address)


def test_a_message_is_answered(address: DatabaseAddress) -> None:
    model = ScriptedModel([words("hi"), words("again")])
    assert asyncio.run(answer(address, model, "hello", "more")) == ["hi", "again"]
    assert [said.text for said in model.prompts[1].history if isinstance(said, UserSaid)] == ["hello", "more"]


def test_a_tools_result_reaches_the_model(address: DatabaseAddress) -> None:
    model = ScriptedModel([calls(("act", "{}"), ("act", '{"a": 1}')), words("ok")])
    assert asyncio.run(answer(address, model, "do it")) == ["ok"]
    assert [said.content for said in model.prompts[1].history if isinstance(said, ToolSaid)] == ["done", "done"]


def test_a_model_that_repeats_itself_is_stopped(address: DatabaseAddress) -> None:
    model = ScriptedModel([calls(("act", "{}"))])
    (reply,) = asyncio.run(answer(address, model, "go"))
    assert "same thing" in reply
    assert len(model.prompts) == 3


def test_a_model_that_never_ends_is_stopped(address: DatabaseAddress) -> None:
    count = iter(range(1000))

    def another(prompt: Prompt) -> ModelReply:
        return calls(("act", f'{{"a": {next(count)}}}'))

    model = ScriptedModel([another])
    (reply,) = asyncio.run(answer(address, model, "go"))
    assert str(AGENT.step_limit) in reply
    assert len(model.prompts) == AGENT.step_limit


@pytest.mark.parametrize("error", [Unavailable("down"), Unauthenticated("no")])
def test_a_model_that_cannot_be_had_is_said_in_words(address: DatabaseAddress, error: SubclawError) -> None:
    (reply,) = asyncio.run(answer(address, ScriptedModel([error]), "hello"))
    assert "model" in reply


def test_a_defect_in_one_conversation_is_tried_again_later(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.turns.worker.RETRY_DELAY_S", 0.01)
    model = ScriptedModel([RuntimeError("a defect"), words("now")])
    assert asyncio.run(answer(address, model, "hello")) == ["now"]


def test_a_defect_that_stays_ends_in_words_and_the_next_message_is_answered(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.turns.worker.RETRY_DELAY_S", 0.001)
    defects = [RuntimeError("a defect")] * FAILURE_LIMIT
    model = ScriptedModel([*defects, words("well again")])
    assert asyncio.run(answer(address, model, "hello", "and now?")) == [GIVEN_UP, "well again"]
    assert len(model.prompts) == FAILURE_LIMIT + 1


def test_a_turn_that_cannot_even_be_set_aside_is_not_stuck(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.turns.worker.RETRY_DELAY_S", 0.01)
    fail_turn, refusals = conversations.fail_turn, [Unavailable("busy"), Unavailable("still busy")]

    async def busy_at_first(database: Database, lease: Lease) -> tuple[int, str]:
        if refusals:
            raise refusals.pop()
        return await fail_turn(database, lease)

    monkeypatch.setattr(conversations, "fail_turn", busy_at_first)
    model = ScriptedModel([RuntimeError("a defect"), words("now")])
    assert asyncio.run(answer(address, model, "hello")) == ["now"]
    assert refusals == []


def test_messages_that_arrive_meanwhile_are_folded_in(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with open_database(address, Role.APP) as database:

            async def slow(caller: Caller, arguments: Mapping[str, Any]) -> str:
                for number in range(2, 5):
                    await say(database, f"message {number}", str(number))
                return "done"

            model = ScriptedModel([calls(("act", "{}")), words("all of it")])
            worker = asyncio.create_task(work(turns(database, model, toolbox(slow)), address, limit=8, closing_s=0))
            await say(database, "message 1", "1")
            assert await until_replies(address, 1) == ["all of it"]
            texts = [said.text for said in model.prompts[1].history if isinstance(said, UserSaid)]
            assert texts == [f"message {number}" for number in range(1, 5)]
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    asyncio.run(scenario())


@pytest.mark.parametrize(("idempotent", "performed", "told"), [(True, 2, "done"), (False, 1, OUTCOME_UNKNOWN)])
def test_a_call_that_a_dead_worker_had_started(
    address: DatabaseAddress, idempotent: bool, performed: int, told: str
) -> None:
    async def scenario() -> None:
        started = asyncio.Event()
        count = 0

        async def act(caller: Caller, arguments: Mapping[str, Any]) -> str:
            nonlocal count
            count += 1
            if count == 1:
                started.set()
                await asyncio.Event().wait()
            return "done"

        async with open_database(address, Role.APP) as database:
            model = ScriptedModel([calls(("act", "{}")), words("finished")])
            world = turns(database, model, toolbox(act, idempotent=idempotent))
            first = asyncio.create_task(work(world, address, limit=8, closing_s=0))
            await say(database, "go", "1")
            await started.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            second = asyncio.create_task(work(world, address, limit=8, closing_s=0))
            assert await until_replies(address, 1) == ["finished"]
            assert count == performed
            assert [said.content for said in model.prompts[-1].history if isinstance(said, ToolSaid)] == [told]
            assert len(model.prompts) == 2, "what the model had said was not asked again"
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)

    asyncio.run(scenario())


@pytest.mark.parametrize(("steps_between", "reply"), [(1, "finished"), (0, GIVEN_UP)])
def test_a_turn_that_gets_on_outlives_its_workers_and_one_that_does_not_is_given_up(
    address: DatabaseAddress, steps_between: int, reply: str
) -> None:
    async def scenario() -> None:
        deaths = FAILURE_LIMIT + 2
        dying = [number for number in range(deaths) for _ in range(1 + steps_between)]
        died: set[int] = set()
        started = asyncio.Event()

        async def act(caller: Caller, arguments: Mapping[str, Any]) -> str:
            number = dying.pop(0) if dying else -1
            if number in died or number < 0:
                return "done"
            died.add(number)
            started.set()
            return await asyncio.Future()

        def asked(prompt: Prompt) -> ModelReply:
            return calls(("act", json.dumps({"n": len(prompt.history)}))) if dying else words("finished")

        async with open_database(address, Role.APP) as database:
            world = turns(database, ScriptedModel([asked]), toolbox(act, idempotent=True))
            await say(database, "go", "1")
            for _ in range(deaths if steps_between else FAILURE_LIMIT):
                worker = asyncio.create_task(work(world, address, limit=8, closing_s=0))
                await started.wait()
                started.clear()
                worker.cancel()
                await asyncio.gather(worker, return_exceptions=True)
            worker = asyncio.create_task(work(world, address, limit=8, closing_s=0))
            assert await until_replies(address, 1) == [reply]
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    asyncio.run(scenario())


def test_a_reply_for_a_provider_waits_in_the_outbox(address: DatabaseAddress) -> None:
    asyncio.run(answer(address, ScriptedModel([words("by text")]), "hello", channel="sms"))
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        assert connection.execute("SELECT text, state FROM outbox").fetchall() == [("by text", "queued")]


def test_a_worker_that_is_told_to_end_lets_a_tool_finish_and_hands_the_turn_over(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        started, let_go = asyncio.Event(), asyncio.Event()

        async def act(caller: Caller, arguments: Mapping[str, Any]) -> str:
            started.set()
            await let_go.wait()
            return "done"

        async with open_database(address, Role.APP) as database:
            model = ScriptedModel([calls(("act", "{}"), ("act", '{"a": 1}')), words("finished")])
            world = turns(database, model, toolbox(act))
            first = asyncio.create_task(work(world, address, limit=8))
            await say(database, "go", "1")
            await started.wait()
            first.cancel()
            await asyncio.sleep(0)
            let_go.set()
            await asyncio.gather(first, return_exceptions=True)
            with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
                rows = connection.execute("SELECT owner, failures, wake_at <= now(), turn_open FROM conversation")
                assert rows.fetchall() == [(None, 0, True, True)]
                done_calls = connection.execute("SELECT count(*) FROM event WHERE type = 'tool.finished'").fetchall()
                assert done_calls == [(1,)]
            second = asyncio.create_task(work(world, address, limit=8))
            assert await until_replies(address, 1) == ["finished"]
            assert [said.content for said in model.prompts[-1].history if isinstance(said, ToolSaid)] == [
                "done",
                "done",
            ]
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)

    asyncio.run(scenario())


LOG = "\n".join(f"compiling module {n} of 20, with all warnings" for n in range(20))
RAW = words(f"Built:\n{LOG}")


async def log_lines(caller: Caller, arguments: Mapping[str, Any]) -> str:
    return LOG


def types(address: DatabaseAddress) -> list[str]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        return [type for (type,) in connection.execute("SELECT type FROM event ORDER BY seq")]


def test_an_answer_with_raw_output_is_asked_for_again_and_never_seen(address: DatabaseAddress) -> None:
    model = ScriptedModel([calls(("act", "{}")), RAW, words("It is built."), words("Thanks.")])
    assert asyncio.run(answer(address, model, "go", "nice", tools=toolbox(log_lines))) == ["It is built.", "Thanks."]
    asked = model.prompts[2].history[-1]
    assert isinstance(asked, UserSaid)
    assert asked.text.startswith("[Nobody wrote. Your last answer was not shown. It contains raw output (20 lines).")
    assert types(address).count("answer.sent_back") == 1
    assert model.prompts[3].history[: len(model.prompts[2].history)] == model.prompts[2].history, "for caches"


def test_a_model_that_insists_has_its_output_cut_out_and_knows_of_it(address: DatabaseAddress) -> None:
    model = ScriptedModel([calls(("act", "{}")), RAW, RAW, words("Thanks.")])
    first, _ = asyncio.run(answer(address, model, "go", "nice", tools=toolbox(log_lines)))
    assert first == 'Built:\n(20 lines of raw output left out here. Say "show me" if you want to see it.)'
    assert len(model.prompts) == 4, "it is asked again once"
    told = [said.text for said in model.prompts[3].history if isinstance(said, UserSaid)]
    assert told[-2:] == ["[Nobody wrote. The person was shown your answer without 20 lines of raw output.]", "nice"]


def test_a_person_who_asks_for_the_log_gets_it(address: DatabaseAddress) -> None:
    model = ScriptedModel([calls(("act", "{}")), RAW])
    assert asyncio.run(answer(address, model, "build it and show me the log", tools=toolbox(log_lines))) == [RAW.text]


def test_the_mending_of_an_answer_outlives_its_worker(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        class Hangs(ScriptedModel):
            async def ask(self, prompt: Prompt) -> ModelReply:
                if len(self.prompts) == 2:
                    asked.set()
                    await asyncio.Event().wait()
                return await super().ask(prompt)

        async with open_database(address, Role.APP) as database:
            hangs = Hangs([calls(("act", "{}")), RAW])
            first = asyncio.create_task(work(turns(database, hangs, toolbox(log_lines)), address, limit=8))
            await say(database, "go", "1")
            async with asyncio.timeout(DEADLINE_S):
                await asked.wait()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            model = ScriptedModel([RAW])
            second = asyncio.create_task(work(turns(database, model, toolbox(log_lines)), address, limit=8))
            (reply,) = await until_replies(address, 1)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
            assert "20 lines of raw output" in reply
            assert len(model.prompts) == 1, "it was sent back before"

    asyncio.run(scenario())
    assert types(address).count("answer.sent_back") == 1


def test_a_channel_of_short_messages_has_a_long_answer_shortened_or_cut(address: DatabaseAddress) -> None:
    async def converse(model: ScriptedModel) -> list[str]:
        async with open_database(address, Role.APP) as database:
            limited = replace(
                turns(database, model, toolbox(done)), limit_characters=lambda name: 300 if name == "sms" else None
            )
            worker = asyncio.create_task(work(limited, address, limit=8))
            for number in range(2):
                await say(database, "tell me a story", str(number), "sms")
                await until_replies(address, number + 1)
            await say(database, "tell me a story", "web")
            await until_replies(address, 3)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            return replies(address)

    story = words("Once upon a time there was a fox. " * 30)
    model = ScriptedModel([story, words("A fox won. Shall I go on?"), story, story, story])
    found = asyncio.run(converse(model))
    assert "A fox won. Shall I go on?" in found
    assert story.text.strip() in [reply.strip() for reply in found]
    (cut,) = [reply for reply in found if reply.endswith(f"there was a fox.\n\n{CUT_OFF}")]
    assert len(cut) <= 300
    assert len(model.prompts) == 5
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        sent = connection.execute("SELECT text FROM outbox ORDER BY id").fetchall()
    assert sent == [("A fox won. Shall I go on?",), (cut,)]
