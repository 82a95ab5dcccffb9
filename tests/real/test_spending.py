"""Turns that cost: refused in words before a model is asked, degraded and warned of once, charged what they used."""

import asyncio
from dataclasses import replace

from tests.budgets import Counted, counted, owner_rows
from tests.real.test_budgets import limit
from tests.real.test_outbox import QUICK, Phone, reply, states
from tests.real.test_turns import AGENT, DEADLINE_S, done, replies, say, toolbox, turns, until_replies

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import Budget, Kind, Level, Period, Tariff
from subclaw.core.errors import Unavailable
from subclaw.core.model import ModelReply, Prompt, Usage
from subclaw.core.tokens import prompt_tokens
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.turns.outbox import deliver
from subclaw.turns.worker import work

TOKENS_A_CALL = 15
MICROUSD_A_CALL = 150

TODAY = Budget(level=Level.TENANT, subject="*", kind=Kind.MONEY, period=Period.DAY, hard=10**9)


def price(usage: Usage) -> int:
    return 10 * (usage.input_tokens + usage.output_tokens)


TARIFF = Tariff(price=price, model="usual", cheaper="cheaper")


def converse(
    address: DatabaseAddress,
    model: ScriptedModel,
    *texts: str,
    cheaper: ScriptedModel | None = None,
    agent: AgentSettings = AGENT,
) -> list[str]:
    """Say texts one after the other, each after the reply to the one before; return the replies."""

    async def main() -> None:
        async with open_database(address, Role.APP) as database:
            world = replace(turns(database, model, toolbox(done)), tariff=TARIFF, cheaper=cheaper, agent=agent)
            worker = asyncio.create_task(work(world, address, limit=8))
            for number, text in enumerate(texts):
                await say(database, text, str(number))
                await until_replies(address, number + 1)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    asyncio.run(main())
    return replies(address)


def outcomes(address: DatabaseAddress) -> list[object]:
    rows = owner_rows(address, "SELECT state FROM operator_event WHERE type = 'turn.finished' ORDER BY seq")
    return [state for (state,) in rows]


def test_a_turn_is_charged_what_its_calls_cost(address: DatabaseAddress) -> None:
    limit(address, replace(TODAY, level=Level.OPERATOR))
    model = ScriptedModel([calls(("act", "{}")), words("done")])
    assert converse(address, model, "hello") == ["done"]
    assert counted(address, "operator", "microusd") == Counted(used=2 * MICROUSD_A_CALL, reserved=0)
    assert owner_rows(address, "SELECT cost_microusd FROM usage") == [(MICROUSD_A_CALL,)] * 2


def test_over_a_hard_limit_no_model_is_asked_and_the_person_is_told(address: DatabaseAddress) -> None:
    limit(address, replace(TODAY, hard=10))
    model = ScriptedModel([words("never")])
    (reply,) = converse(address, model, "hello")
    assert reply == "Today's allowance is used up, so I can't go on now. It is refilled at midnight (UTC)."
    assert model.prompts == []
    assert outcomes(address) == ["over_budget"]


def test_from_a_soft_limit_on_the_cheaper_model_answers_and_the_person_is_told_once(address: DatabaseAddress) -> None:
    limit(address, replace(TODAY, soft=MICROUSD_A_CALL))
    usual, cheaper = ScriptedModel([words("usual")]), ScriptedModel([words("cheaper")])
    first, second, third = converse(address, usual, "one", "two", "three", cheaper=cheaper)
    assert first == "usual"
    assert second.startswith("cheaper\n\n(Most of today's allowance is used, so I answer with a simpler model")
    assert third == "cheaper"
    assert (len(usual.prompts), len(cheaper.prompts)) == (1, 2)


def test_without_a_cheaper_model_the_usual_one_goes_on_beyond_a_soft_limit(address: DatabaseAddress) -> None:
    limit(address, replace(TODAY, soft=0))
    (reply,) = converse(address, ScriptedModel([words("usual")]), "one")
    assert reply.startswith("usual\n\n(Most of today's allowance")


def test_a_model_that_cannot_be_had_costs_nothing(address: DatabaseAddress) -> None:
    limit(address, TODAY, replace(TODAY, level=Level.OPERATOR))
    converse(address, ScriptedModel([Unavailable("down")]), "hello")
    assert counted(address, "operator", "microusd") == Counted(used=0, reserved=0)


def test_a_call_that_is_not_waited_for_costs_what_it_was_sent(address: DatabaseAddress) -> None:
    limit(address, TODAY, replace(TODAY, level=Level.OPERATOR))

    class Silent(ScriptedModel):
        asked = asyncio.Event()

        async def ask(self, prompt: Prompt) -> ModelReply:
            self.prompts.append(prompt)
            self.asked.set()
            return await asyncio.Future()

    model = Silent([])

    async def main() -> None:
        async with open_database(address, Role.APP) as database:
            world = replace(turns(database, model, toolbox(done)), tariff=TARIFF)
            worker = asyncio.create_task(work(world, address, limit=8))
            await say(database, "hello", "1")
            await model.asked.wait()
            await say(database, "stop", "2")
            await until_replies(address, 1)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

    asyncio.run(main())
    cost = 10 * prompt_tokens(model.prompts[0])
    assert counted(address, "operator", "microusd") == Counted(used=cost, reserved=0)
    assert owner_rows(address, "SELECT model, cost_microusd FROM usage") == [("usual", cost)]
    assert outcomes(address) == ["stopped"]


def test_a_turn_stops_at_its_own_limit_also_where_there_are_no_budgets(address: DatabaseAddress) -> None:
    count = iter(range(100))
    model = ScriptedModel([lambda _: calls(("act", f'{{"a": {next(count)}}}'))])
    agent = AgentSettings(turn_limit_tokens=8_400)
    (reply,) = converse(address, model, "hello", agent=agent)
    assert reply.startswith("This takes more than one answer may use")
    used = len(model.prompts) * TOKENS_A_CALL
    assert 0 < used <= 8_400
    assert outcomes(address) == ["over_budget"]


def test_a_reply_without_segments_left_is_not_sent_and_the_operator_sees_why(address: DatabaseAddress) -> None:
    limit(address, replace(TODAY, kind=Kind.SEGMENTS, hard=5))
    phone = Phone()

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP) as database:
            await reply(database, "one|two", "three")
            sender = asyncio.create_task(
                deliver(database, address, {"sms": phone}, times=QUICK, count=lambda name, parts: 3)
            )
            while await asyncio.to_thread(states, address) != ["sent", "failed"]:
                assert not sender.done(), sender.exception()
                await asyncio.sleep(0.01)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    asyncio.run(main())
    assert phone.taken == ["one", "two"]
    assert owner_rows(address, "SELECT detail FROM outbox ORDER BY id DESC LIMIT 1") == [
        ("over budget: tenant, segments, day",)
    ]
    ((subject,),) = owner_rows(address, "SELECT id::text FROM tenant")
    assert counted(address, "tenant", "segments", str(subject)).used == 3
