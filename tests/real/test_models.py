"""Each provider by its own library, through the real gateway: a call, its result, words; and every way to fail."""

import json
from pathlib import Path

import pytest
from tests.real.model_scene import HELLO, KEY, PATHS, QUICK, TOOL, opened

from subclaw.config import KEY_VARIABLES, load_settings
from subclaw.core.errors import Denied, Exhausted, Invalid, SubclawError, Unauthenticated, Unavailable
from subclaw.core.model import ModelSaid, Prompt, ToolSaid, Usage
from subclaw.egress.control.client import gateway_client
from subclaw.models.providers import open_model
from subclaw.testing.egress import run, running_gateway
from subclaw.testing.providers import CALL_ARGUMENTS, CALL_NAME, FakeProvider


@pytest.mark.parametrize("name", PATHS)
def test_a_call_its_result_and_words(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        provider = FakeProvider()
        async with opened(tmp_path, name, provider.app()) as model:
            asked = await model.ask(HELLO)
            (call,) = asked.calls
            assert (call.name, json.loads(call.arguments)) == (CALL_NAME, CALL_ARGUMENTS)
            assert asked.usage == Usage(
                model="served",
                input_tokens=11,
                output_tokens=7,
                cache_read_tokens=4,
                cache_write_tokens=0 if name == "google" else 3,
                choice=f"{name}:some-model",
            )
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
        async with opened(tmp_path, name, FakeProvider(status=status).app()) as model:
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
                await open_model(settings.model, gateway, patience=QUICK).ask(HELLO)

    run(scenario)
