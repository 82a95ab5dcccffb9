"""Models by name: a tenant's own answers it, whoever has none has the operator's, and a name in vain costs no turn."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from decimal import Decimal

import httpx2
import pytest

from subclaw.config import load_settings
from subclaw.core.agent import AgentSettings
from subclaw.core.errors import Invalid
from subclaw.core.model import Prompt, Usage, UserSaid
from subclaw.core.price import Price
from subclaw.core.upstream import Upstream
from subclaw.models.by_name import KEPT, ModelsByName
from subclaw.models.choice import DEMO, ModelChoice, parse_choice, usable_choice, usable_providers

HELLO = Prompt(instructions="", history=[UserSaid(text="hello")], tools=[])
LOCAL = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "ANTHROPIC_API_KEY": "a key"}
PRICES = {"openai:mine": Price(input=Decimal(1), output=Decimal(1))}
AGENT = AgentSettings(fallback=("openai:spare",), prices=PRICES, windows={"openai:mine": 5_000, "openai:spare": 9_000})


class Server:
    """A server that speaks OpenAI's protocol; the models in `broken` it does not have."""

    def __init__(self, broken: tuple[str, ...] = ()) -> None:
        self.asked: list[str] = []
        self.broken = broken

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        model = json.loads(request.content)["model"]
        self.asked.append(model)
        if model in self.broken:
            return httpx2.Response(404, json={"error": {"message": "no such model"}})
        message = {"role": "assistant", "content": f"I am {model}."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        return httpx2.Response(200, json=reply)


def run(scenario: Callable[[ModelsByName], Awaitable[None]], server: Server, choice: ModelChoice = DEMO) -> None:
    async def main() -> None:
        transport = httpx2.MockTransport(server.answer)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway/") as gateway:
            await scenario(ModelsByName(choice, AGENT, gateway, upstreams(LOCAL)))

    asyncio.run(main())


def upstreams(environ: dict[str, str]) -> tuple[Upstream, ...]:
    return load_settings(environ).upstreams


def test_each_tenants_model_answers_it() -> None:
    async def scenario(models: ModelsByName) -> None:
        assert (await models.model_of("openai:mine").model.ask(HELLO)).text == "I am mine."
        assert (await models.model_of("").model.ask(HELLO)).text == "I am usual."
        assert models.model_of("openai:mine") is models.model_of("openai:mine")

    run(scenario, Server(), parse_choice("openai:usual"))


def test_what_stands_in_for_the_operators_model_stands_in_for_a_tenants_too() -> None:
    server = Server(broken=("gone",))

    async def scenario(models: ModelsByName) -> None:
        assert (await models.model_of("openai:gone").model.ask(HELLO)).text == "I am spare."

    run(scenario, server)
    assert server.asked == ["gone", "spare"]


def test_a_tenants_model_has_its_own_price_and_window() -> None:
    async def scenario(models: ModelsByName) -> None:
        mine = models.model_of("openai:mine")
        assert mine.window_tokens == 5_000
        call = Usage(model=mine.tariff.model, input_tokens=1_000_000, output_tokens=0)
        assert mine.tariff.price(call) == 1_000_000
        assert models.model_of("").tariff.model == "demo"

    run(scenario, Server())


@pytest.mark.parametrize("name", ["nobody:x", "google:gemini-3.8-flash", "demo:x", ":", "x" * 300])
def test_a_name_that_cannot_be_opened_gets_the_operators_model_and_a_line_in_the_log(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(models: ModelsByName) -> None:
        with caplog.at_level(logging.WARNING, "subclaw.models.by_name"):
            assert models.model_of(name) is models.model_of("")
        assert "the operator's model answers in place of" in caplog.text

    run(scenario, Server())


def test_no_more_models_are_kept_than_a_few() -> None:
    async def scenario(models: ModelsByName) -> None:
        first, kept = models.model_of("openai:first"), models.model_of("openai:kept")
        for number in range(KEPT - 1):
            models.model_of(f"openai:model-{number}")
            assert models.model_of("openai:kept") is kept
        assert models.model_of("openai:first") is not first

    run(scenario, Server())


def test_a_provider_can_be_asked_with_a_key_or_at_a_server_of_ones_own() -> None:
    assert usable_providers(upstreams({})) == ()
    assert usable_providers(upstreams(LOCAL)) == ("openai", "anthropic")
    twilio = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_NUMBER": "+15551234567", "TWILIO_AUTH_TOKEN": "x"}
    assert usable_providers(upstreams(twilio | {"GOOGLE_API_KEY": "a key"})) == ("google",)


def test_a_name_is_refused_in_words() -> None:
    assert str(usable_choice("openai", ["openai"])) == "openai:gpt-6-luna"
    assert usable_choice("demo", []) == DEMO
    with pytest.raises(Invalid, match=r"openai:x cannot be asked: subclaw can ask google.*OPENAI_API_KEY"):
        usable_choice("openai:x", ["google"])
    with pytest.raises(Invalid, match="subclaw can ask none"):
        usable_choice("openai:x", [])
    with pytest.raises(Invalid, match="The model is 'what'; it must be provider:model"):
        usable_choice("what", ["openai"])


def test_the_audits_server_answers_for_the_audit_alone() -> None:
    async def scenario() -> None:
        server, audits = Server(), Server()
        async with (
            httpx2.AsyncClient(transport=httpx2.MockTransport(server.answer), base_url="http://gateway/") as gateway,
            httpx2.AsyncClient(transport=httpx2.MockTransport(audits.answer), base_url="http://audit/") as audit,
        ):
            models = ModelsByName(parse_choice("openai:mine"), AGENT, gateway, upstreams(LOCAL), audit=audit)
            assert (await models.model_of("audit").model.ask(HELLO)).text == "I am audit."
            assert (await models.model_of("").model.ask(HELLO)).text == "I am mine."
            assert models.model_of("audit").tariff.price(Usage(model="audit", input_tokens=9, output_tokens=9)) == 0
        assert (server.asked, audits.asked) == (["mine"], ["audit"])

    asyncio.run(scenario())
