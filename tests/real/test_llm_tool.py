"""An agent asks several prompts at once by its tool: by a provider's protocol, on its budgets, and stop ends it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.budgets import Counted, counted, owner_rows
from tests.real.model_scene import opened
from tests.real.test_budgets import limit
from tests.real.test_completions import OPERATOR_DAY_WIDE, TARIFF, Gate, metered
from tests.real.test_spending import outcomes
from tests.real.test_turns import replies, say, turns, until_replies

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import Level
from subclaw.core.model import Model, Usage
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.testing.openai import Failure, FakeOpenAi, Words, call
from subclaw.tools.llm import llm_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.worker import work

PROMPTS = [f"What is {number} squared?" for number in range(10)]


@asynccontextmanager
async def working(
    address: DatabaseAddress, model: Model, asked: Model, agent: AgentSettings | None = None
) -> AsyncIterator[Database]:
    """Run a worker whose turns ask `model` and whose tool asks `asked`."""
    agent = agent or AgentSettings()
    async with open_database(address, Role.APP) as database:
        tools = BuiltInToolbox(llm_tools(metered(database, asked, agent=agent)))
        world = replace(turns(database, ScriptedModel([]), tools), model=model, tariff=TARIFF, agent=agent)
        worker = asyncio.create_task(work(world, address, limit=8))
        try:
            yield database
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)


def test_ten_at_once_are_answered_in_order_and_charged(address: DatabaseAddress, tmp_path: Path) -> None:
    limit(
        address, OPERATOR_DAY_WIDE, *(replace(OPERATOR_DAY_WIDE, level=level) for level in Level if level != "operator")
    )
    fake = FakeOpenAi()
    play = fake.play(
        "square them", call("llm_complete", prompts=PROMPTS, system="Say only the number."), Words(text="ok")
    )
    for number, prompt in enumerate(PROMPTS):
        fake.play(prompt, Words(text=str(number**2)) if number != 3 else Failure(status=400))

    async def main() -> None:
        async with opened(tmp_path, "openai", fake.app()) as model, working(address, model, model) as database:
            await say(database, "square them", "1")
            assert await until_replies(address, 1) == ["ok"]

    asyncio.run(main())
    (told,) = play.told()
    answers = told.split("\n\n")
    assert answers[:3] == ["[1]\n0", "[2]\n1", "[3]\n4"]
    assert answers[3].startswith("[4]\n(No answer: ")
    assert answers[9] == "[10]\n81"
    ((used, recorded),) = owner_rows(address, "SELECT sum(input_tokens + output_tokens), count(*) FROM usage")
    assert recorded == 9 + 2
    assert counted(address, "operator", "tokens") == Counted(used=int(str(used)), reserved=0)
    for prompt in PROMPTS[4:]:
        (sent,) = fake.plays[prompt].prompts
        assert [message["role"] for message in sent] == ["system", "user"]


def test_nothing_empty_is_sent_and_the_reply_is_bounded(address: DatabaseAddress, tmp_path: Path) -> None:
    fake = FakeOpenAi()
    fake.play("go", call("llm_complete", prompts=["alone"], max_tokens=7), Words(text="ok"))
    alone = fake.play("alone", Words(text="answered"))

    async def main() -> None:
        async with opened(tmp_path, "openai", fake.app()) as model, working(address, model, model) as database:
            await say(database, "go", "1")
            await until_replies(address, 1)

    asyncio.run(main())
    assert alone.prompts == [[{"role": "user", "content": "alone"}]]
    (sent,) = [json.loads(body) for body in fake.bodies if b'"alone"' in body and b"llm_complete" not in body]
    assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 7
    assert not sent.get("tools")


@pytest.mark.alone
def test_stop_ends_it_within_a_second_and_what_was_asked_is_charged(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY_WIDE)
    asked = Gate()
    model = ScriptedModel([calls(("llm_complete", json.dumps({"prompts": PROMPTS})))])

    async def main() -> None:
        async with working(address, model, asked) as database:
            await say(database, "square them", "1")
            await asked.full.wait()
            started_s = time.monotonic()
            await say(database, "stop", "2")
            await until_replies(address, 1)
            assert time.monotonic() - started_s < 1

    asyncio.run(main())
    assert outcomes(address) == ["stopped"]
    assert asked.under_way == 0
    rows = owner_rows(address, "SELECT count(*), min(output_tokens), max(output_tokens) FROM usage WHERE seq IS NULL")
    assert rows == [(asked.most, 0, 0)]
    assert counted(address, "operator", "tokens").reserved == 0


def test_a_turn_counts_what_its_tool_used(address: DatabaseAddress) -> None:
    """The turn's calls alone would have room for another one."""
    model = ScriptedModel([calls(("llm_complete", '{"prompts": ["a"], "max_tokens": 5}')), words("never")])
    asked = ScriptedModel([replace(words("yes"), usage=Usage(model="m", input_tokens=0, output_tokens=1_000))])

    async def main() -> None:
        async with working(address, model, asked, AgentSettings(turn_limit_tokens=9_000)) as database:
            await say(database, "go on", "1")
            await until_replies(address, 1)

    asyncio.run(main())
    assert outcomes(address) == ["over_budget"]
    assert replies(address)[0].startswith("This takes more than one answer may use")
    assert (len(model.prompts), len(asked.prompts)) == (1, 1)
