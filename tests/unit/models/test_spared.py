"""What the providers' libraries are spared: the requests are the same as they would have made of them."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from openai import APIStatusError, AsyncOpenAI, omit
from openai.types.chat import ChatCompletion
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from subclaw.core.model import Prompt, UserSaid
from subclaw.core.tool import ToolDefinition
from subclaw.models.openai_chat import send_directly
from subclaw.models.patience import Patience
from subclaw.models.pydantic_ai import PydanticAiModel
from subclaw.models.spared import adapt_tools_once, send_as_is
from subclaw.testing.providers import openai_answer

SCHEMA = {"type": "object", "properties": {"until": {"type": "string", "format": "date"}}}
ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": "well"},
    {"role": "user", "content": "🙂 and?"},
]


async def openai_request(transport: httpx2.AsyncBaseTransport, *, as_is: bool) -> None:
    http = httpx2.AsyncClient(transport=transport)
    client = AsyncOpenAI(base_url="http://model/v1", api_key="k", http_client=http, max_retries=0)
    if as_is:
        send_directly(client, http)
    tool: Any = {"type": "function", "function": {"name": "act", "parameters": SCHEMA, "strict": False}}
    messages: Any = ASKED
    await client.chat.completions.create(
        model="m",
        messages=messages,
        tools=[tool],
        temperature=omit,
        extra_body={"reasoning": False},
        extra_headers={"User-Agent": "us"},
    )


async def anthropic_request(transport: httpx2.AsyncBaseTransport, *, as_is: bool) -> None:
    client = AsyncAnthropic(
        base_url="http://model", api_key="k", http_client=httpx2.AsyncClient(transport=transport), max_retries=0
    )
    if as_is:
        send_as_is(client.beta.messages)
    tool: Any = {"name": "act", "description": "Acts.", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
    messages: Any = ASKED
    await client.beta.messages.create(
        model="m", messages=messages, max_tokens=9, tools=[tool], system=[{"type": "text", "text": "be kind"}]
    )


@pytest.mark.parametrize("request_of", [openai_request, anthropic_request])
def test_the_request_is_the_one_that_the_library_makes(request_of: Callable[..., Coroutine[Any, Any, None]]) -> None:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={})

    for as_is in (False, True):
        asyncio.run(request_of(httpx2.MockTransport(answer), as_is=as_is))
    usual, ours = sent
    assert json.loads(ours.content) == json.loads(usual.content)
    assert ours.url == usual.url
    assert _told(ours) == _told(usual)
    assert ASKED[2]["content"] in str(json.loads(ours.content))


def _told(request: httpx2.Request) -> Mapping[str, str]:
    """Return what a provider goes by; the rest is what OpenAI's library tells of the computer that it runs on."""
    return {
        name: value
        for name, value in request.headers.items()
        if not name.startswith("x-stainless-") and name != "content-length"
    }


@pytest.mark.parametrize(
    "said",
    [
        openai_answer({"content": "well"}),
        openai_answer({"content": None, "tool_calls": []}, "length") | {"created": None, "of_its_own": {"a": 1}},
        {"id": 7, "choices": [{"message": {"content": "well"}}]},
        {},
        "well",
    ],
)
def test_an_answer_is_read_as_the_library_reads_it(said: object) -> None:
    async def read(*, directly: bool) -> Any:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=said)))
        client = AsyncOpenAI(base_url="http://model/v1", api_key="k", http_client=http, max_retries=0)
        if directly:
            send_directly(client, http)
        completion: Any = await client.chat.completions.create(model="m", messages=[])
        return completion.model_dump(warnings=False) if isinstance(completion, ChatCompletion) else completion

    assert asyncio.run(read(directly=True)) == asyncio.run(read(directly=False))


@pytest.mark.parametrize(
    "said", [{"error": {"message": "too much", "type": "t", "code": "c"}}, {"error": "no"}, ["no"], "no"]
)
def test_a_refusal_is_the_error_that_the_library_makes(said: object) -> None:
    async def refused(*, directly: bool) -> APIStatusError:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(429, json=said)))
        client = AsyncOpenAI(base_url="http://model/v1", api_key="k", http_client=http, max_retries=0)
        if directly:
            send_directly(client, http)
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(model="m", messages=[])
        return caught.value

    ours, usual = asyncio.run(refused(directly=True)), asyncio.run(refused(directly=False))
    assert (ours.status_code, ours.body, ours.code, ours.type) == (429, usual.body, usual.code, usual.type)
    assert str(ours) == str(usual)


def test_tools_are_adapted_once_as_long_as_they_are_the_same() -> None:
    adapted: list[ModelRequestParameters] = []

    class Counting(OpenAIChatModel):
        def customize_request_parameters(
            self, model_request_parameters: ModelRequestParameters
        ) -> ModelRequestParameters:
            adapted.append(model_request_parameters)
            return super().customize_request_parameters(model_request_parameters)

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content)["tools"])
        return httpx2.Response(200, json=openai_answer({"content": "well"}))

    sent: list[Any] = []
    client = AsyncOpenAI(
        base_url="http://model/v1", api_key="k", http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    )
    provider_model = Counting("m", provider=OpenAIProvider(openai_client=client))
    adapt_tools_once(provider_model)
    model = PydanticAiModel(provider_model, choice="openai:m", patience=Patience())
    tools = (ToolDefinition(name="act", description="Acts.", parameters=SCHEMA, idempotent=True),)
    others = (replace(tools[0], name="look"),)

    async def ask_thrice() -> None:
        for given in (tools, tools, others):
            await model.ask(Prompt(instructions="be kind", history=[UserSaid(text="hello")], tools=given))

    asyncio.run(ask_thrice())
    assert [tool["function"]["name"] for (tool,) in sent] == ["act", "act", "look"]
    assert sent[0] == sent[1]
    assert len(adapted) == 2
