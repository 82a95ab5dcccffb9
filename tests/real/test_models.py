"""Each provider by its own library, through the real gateway: a call, its result, words; and every way to fail."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from subclaw.config import KEY_VARIABLES, load_settings
from subclaw.core.errors import Denied, Exhausted, Invalid, SubclawError, Unauthenticated, Unavailable
from subclaw.core.model import Model, ModelSaid, Prompt, ToolSaid, Usage, UserSaid
from subclaw.core.tool import ToolDefinition
from subclaw.egress.client import gateway_client
from subclaw.models.providers import open_model
from subclaw.testing.egress import run, running_gateway
from subclaw.testing.providers import CALL_ARGUMENTS, CALL_NAME, FakeProvider
from subclaw.testing.serving import serving

KEY = "sk-canary-0123456789"
PATHS = {"openai": "/v1", "anthropic": "", "google": ""}
TOOL = ToolDefinition(
    name=CALL_NAME,
    description="Look somewhere.",
    parameters={"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]},
    idempotent=True,
)
HELLO = Prompt(instructions="Be kind.", history=[UserSaid(text="What is here?")], tools=[TOOL])


@asynccontextmanager
async def opened(folder: Path, name: str, provider: FakeProvider) -> AsyncIterator[Model]:
    """Open a provider's model as the product does: from settings, by the gateway, which alone has the key."""
    async with serving(provider.app()) as port:
        upper = name.upper()
        url = f"http://127.0.0.1:{port}{PATHS[name]}"
        settings = load_settings(
            {f"{upper}_API_KEY": KEY, f"{upper}_BASE_URL": url, "SUBCLAW_MODEL": f"{name}:some-model"}
        )
        secrets = {KEY_VARIABLES[f"{upper}_API_KEY"]: KEY}
        async with (
            running_gateway(folder, settings.upstreams, secrets) as socket,
            gateway_client(socket) as gateway,
        ):
            yield open_model(settings.model, gateway)


@pytest.mark.parametrize("name", PATHS)
def test_a_call_its_result_and_words(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        provider = FakeProvider()
        async with opened(tmp_path, name, provider) as model:
            asked = await model.ask(HELLO)
            (call,) = asked.calls
            assert (call.name, json.loads(call.arguments)) == (CALL_NAME, CALL_ARGUMENTS)
            assert asked.usage == Usage(model="served", input_tokens=11, output_tokens=7)
            history = [*HELLO.history, ModelSaid(text="", calls=asked.calls), ToolSaid(call=call, content="a shoe")]
            told = await model.ask(Prompt(instructions="Be kind.", history=history, tools=[TOOL]))
            assert (told.text, told.calls) == ("I saw a shoe.", ())
        assert KEY in "".join(provider.headers.values())
        assert "placeholder" not in "".join(provider.headers.values())
        assert "Be kind." in json.dumps(provider.seen[0])
        assert "What is here?" in json.dumps(provider.seen[1])

    run(scenario)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Invalid), (401, Unauthenticated), (403, Denied), (404, Invalid), (429, Exhausted), (500, Unavailable)],
)
def test_a_refusal_says_who_acts_next(tmp_path: Path, name: str, status: int, error: type[SubclawError]) -> None:
    async def scenario() -> None:
        async with opened(tmp_path, name, FakeProvider(status=status)) as model:
            with pytest.raises(error) as raised:
                await model.ask(HELLO)
            assert "What is here?" not in raised.value.internal

    run(scenario)


@pytest.mark.parametrize("name", PATHS)
def test_a_provider_that_is_away_is_unavailable(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        settings = load_settings(
            {f"{name.upper()}_API_KEY": KEY, f"{name.upper()}_BASE_URL": "http://127.0.0.1:9", "SUBCLAW_MODEL": name}
        )
        secrets = {KEY_VARIABLES[f"{name.upper()}_API_KEY"]: KEY}
        async with (
            running_gateway(tmp_path, settings.upstreams, secrets) as socket,
            gateway_client(socket) as gateway,
        ):
            with pytest.raises(Unavailable):
                await open_model(settings.model, gateway).ask(HELLO)

    run(scenario)
