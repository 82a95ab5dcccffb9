"""An agent's models: those that stand in for the chosen one, the cheaper one, and what providers are told of caches."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.real.model_scene import HELLO, PATHS, TOOL, opened, opened_all

from subclaw.core.agent import AgentSettings
from subclaw.core.model import ModelSaid, Prompt, ToolSaid, UserSaid, Utterance
from subclaw.core.upstream import Upstream
from subclaw.models.choice import parse_choice
from subclaw.models.prices import Prices
from subclaw.models.providers import open_models
from subclaw.testing.egress import run
from subclaw.testing.providers import FakeProvider

AGENT = AgentSettings(fallback=("anthropic:claude-sonnet-5-5",), cheaper="anthropic:claude-haiku-5")


def test_another_provider_stands_in_and_the_call_is_priced_as_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        away, there = FakeProvider(status=401), FakeProvider()
        async with opened_all(tmp_path, {"openai": away.app(), "anthropic": there.app()}, AGENT) as models:
            reply = await models.chosen.ask(HELLO)
            assert reply.usage.choice == "anthropic:claude-sonnet-5-5"
            assert 0 < Prices().price_of(reply.usage) < 1_000_000
            await models.chosen.ask(HELLO)
            assert (len(away.seen), len(there.seen)) == (1, 2)

    run(scenario)


def test_the_cheaper_model_answers_by_itself_and_is_stood_in_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        chosen, cheaper = FakeProvider(), FakeProvider()
        async with opened_all(tmp_path, {"openai": chosen.app(), "anthropic": cheaper.app()}, AGENT) as models:
            assert models.cheaper
            assert (await models.cheaper.ask(HELLO)).usage.choice == AGENT.cheaper
            cheaper.status = 401
            assert (await models.cheaper.ask(HELLO)).usage.choice == "openai:some-model"

    run(scenario)


def test_an_operator_is_told_at_the_start_whose_price_nobody_knows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        apps: dict[str, Any] = {"openai": FakeProvider().app(), "anthropic": FakeProvider().app()}
        with caplog.at_level(logging.WARNING, "subclaw.models"):
            async with opened_all(tmp_path, apps, AgentSettings()) as models:
                assert models.cheaper is None
        assert "openai:some-model" in caplog.text

    run(scenario)


def test_a_reply_takes_no_more_than_a_quarter_of_a_small_window(tmp_path: Path) -> None:
    async def scenario() -> None:
        small, large = FakeProvider(status=401), FakeProvider()
        agent = replace(AGENT, windows={"openai:some-model": 8_000})
        async with opened_all(tmp_path, {"openai": small.app(), "anthropic": large.app()}, agent) as models:
            assert models.window_tokens == 8_000
            await models.chosen.ask(HELLO)
        assert small.seen[0]["max_completion_tokens"] == 2_000
        assert large.seen[0]["max_tokens"] == 8_192

    run(scenario)


def test_an_operator_is_told_at_the_start_which_model_has_no_key(caplog: pytest.LogCaptureFixture) -> None:
    def upstream(name: str, url: str, secret: str | None) -> Upstream:
        return Upstream(name=name, base_url=url, secret=secret)

    upstreams = [
        upstream("openai", "http://127.0.0.1:11434/v1", None),
        upstream("anthropic", "https://api.anthropic.com", None),
        upstream("google", "https://generativelanguage.googleapis.com", "google.key"),
    ]
    agent = AgentSettings(fallback=("anthropic:claude-sonnet-5-5", "google:gemini-3.8-flash"))
    with caplog.at_level(logging.WARNING, "subclaw.models"):
        open_models(parse_choice("openai:llama"), agent, httpx2.AsyncClient(timeout=60), upstreams)
    assert [record.getMessage() for record in caplog.records if "no key" in record.getMessage()] == [
        "anthropic:claude-sonnet-5-5 has no key, and will hardly answer: set ANTHROPIC_API_KEY"
    ]


async def two_steps(folder: Path, name: str, text: str, *, official: bool = False) -> list[dict[str, Any]]:
    """Ask for a call, then with its result; return both requests."""
    provider = FakeProvider()
    tools = [TOOL, replace(TOOL, name="more")]
    async with opened(folder, name, provider.app(), official=official) as model:
        history: list[Utterance] = [UserSaid(text=text)]
        asked = await model.ask(Prompt(instructions="Be kind.", history=history, tools=tools))
        results = [ToolSaid(call=call, content="a shoe") for call in asked.calls]
        whole = [*history, ModelSaid(text=asked.text, calls=asked.calls), *results]
        await model.ask(Prompt(instructions="Be kind.", history=whole, tools=tools))
    return provider.seen


@pytest.mark.parametrize("name", PATHS)
def test_what_was_sent_before_is_sent_again_unchanged_and_in_front(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        first, second = await two_steps(tmp_path, name, "What is here?")
        said = "contents" if name == "google" else "messages"
        assert json.dumps(second[said]).startswith(json.dumps(first[said])[:-1])
        for rest in (first, second):
            rest.pop(said)
        assert json.dumps(first) == json.dumps(second)

    run(scenario)


def test_anthropic_is_told_what_to_keep(tmp_path: Path) -> None:
    async def scenario() -> None:
        for request in await two_steps(tmp_path, "anthropic", "What is here?"):
            assert [("cache_control" in tool) for tool in request["tools"]] == [False, True]
            assert request["system"][-1]["cache_control"]["type"] == "ephemeral"
            assert request["cache_control"]["type"] == "ephemeral"

    run(scenario)


def test_openai_is_told_which_conversation_it_is_and_others_are_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        keys = [
            [request.get("prompt_cache_key") for request in await two_steps(tmp_path, "openai", text, official=True)]
            for text in ("What is here?", "What is there?")
        ]
        assert keys[0][0] == keys[0][1] == hashlib.sha256(b"Be kind.\0What is here?").hexdigest()[:32]
        assert keys[1][0] == keys[1][1] != keys[0][0]
        for request in await two_steps(tmp_path, "openai", "What is here?"):
            assert not [name for name in request if "cache" in name]

    run(scenario)
