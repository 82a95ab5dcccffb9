"""Requests that go out as they are: the same as the providers' libraries would have made of them."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI, omit

from subclaw.models.as_is import send_as_is

SCHEMA = {"type": "object", "properties": {"until": {"type": "string", "format": "date"}}}
ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": "well"},
    {"role": "user", "content": "🙂 and?"},
]


async def openai_request(transport: httpx2.AsyncBaseTransport, *, as_is: bool) -> None:
    client = AsyncOpenAI(
        base_url="http://model/v1", api_key="k", http_client=httpx2.AsyncClient(transport=transport), max_retries=0
    )
    if as_is:
        send_as_is(client.chat.completions)
    tool: Any = {"type": "function", "function": {"name": "act", "parameters": SCHEMA, "strict": False}}
    messages: Any = ASKED
    await client.chat.completions.create(
        model="m", messages=messages, tools=[tool], temperature=omit, extra_body={"reasoning": False}
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
    assert ours.headers == usual.headers
    assert ASKED[2]["content"] in str(json.loads(ours.content))
