"""What the business benchmark's counts rest on: that they count what they are for."""

import asyncio
import json

import httpx2
import pytest
from bench import business_world
from bench.business_agent import CALLS, bound_canary, message_of, order_of, said_canary, strangers_in
from bench.business_world import World

from subclaw.testing.serving import serving

SAID = message_of(7, 1)
RESULT = f"order-7-1 of {bound_canary(7)}"


def asked(results: list[str], world: World) -> dict[str, object]:
    """Ask the provider for the step after some results; return its message."""
    messages = [{"role": "user", "content": SAID}, *({"role": "tool", "content": each} for each in results)]

    async def ask() -> dict[str, object]:
        async with serving(world.app()) as port, httpx2.AsyncClient() as client:
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            response = await client.post(url, json={"model": "m", "messages": messages})
            message: dict[str, object] = response.json()["choices"][0]["message"]
            return message

    return asyncio.run(ask())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(business_world, "LATENCY_S", 0.0)
    return World()


def test_a_turn_calls_each_tool_and_says_what_it_was_told(world: World) -> None:
    for number, name in enumerate(CALLS):
        message = asked([RESULT] * number, world)
        assert f'"{name}"' in json.dumps(message["tool_calls"])
    answer = str(asked([RESULT] * len(CALLS), world)["content"])
    assert order_of(answer) == "order-7-1"
    assert bound_canary(7) in answer
    assert (world.counts["crossed"], world.counts["wrong"]) == (0, 0)


@pytest.mark.parametrize("canary", [bound_canary(8), said_canary(8)])
def test_what_is_anothers_is_counted(world: World, canary: str) -> None:
    asked([f"{RESULT} {canary}"], world)
    assert (world.counts["crossed"], world.counts["wrong"]) == (1, 0)
    assert strangers_in(f"{canary} {said_canary(7)}", 7) == 1


@pytest.mark.parametrize("result", ["There is no such tool.", f"order-7-2 of {bound_canary(7)}"])
def test_a_result_that_is_not_the_tools_is_counted(world: World, result: str) -> None:
    asked([result], world)
    assert (world.counts["crossed"], world.counts["wrong"]) == (0, 1)
