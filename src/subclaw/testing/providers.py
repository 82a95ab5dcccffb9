"""Model providers on loopback, each in its own protocol: they ask for one tool call, then say what it came to.

What they misbehave with is given to them as ready responses, which come first.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Json = dict[str, Any]

CALL_NAME = "look"
CALL_ARGUMENTS: Json = {"where": "here ✓"}


@dataclass(kw_only=True)
class FakeProvider:
    """A provider. `first` are responses that come before any other; `status` other than 200 makes it fail.

    `seen` keeps the requests, `headers` those of the last one.
    """

    first: list[Response] = field(default_factory=list)
    status: int = 200
    seen: list[Json] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, request: Request, results: Callable[[Json], list[str]], made: "Made") -> Response:
        """Answer with a call, or with words about the result that came back."""
        body = json.loads(await request.body())
        self.seen.append(body)
        self.headers = dict(request.headers)
        if self.first:
            return self.first.pop(0)
        if self.status != 200:
            return JSONResponse({"error": {"message": "no", "type": "x", "code": self.status}}, self.status)
        found = results(body)
        return JSONResponse(made.words(f"I saw {found[-1]}.") if found else made.call(CALL_NAME, CALL_ARGUMENTS))

    def app(self) -> Starlette:
        """Return an application that speaks all the protocols, each at its provider's own path."""

        def route(path: str, results: Callable[[Json], list[str]], made: Made) -> Route:
            async def endpoint(request: Request) -> Response:
                return await self.answer(request, results, made)

            handler: Callable[[Request], Awaitable[Response]] = endpoint
            return Route(path, handler, methods=["POST"])

        return Starlette(
            routes=[
                route("/v1/chat/completions", _openai_results, Made(words=_openai_words, call=_openai_call)),
                route("/v1/messages", _anthropic_results, Made(words=_anthropic_words, call=_anthropic_call)),
                route("/v1beta/models/{call:path}", _google_results, Made(words=_google_words, call=_google_call)),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a protocol writes an answer."""

    words: Callable[[str], Json]
    call: Callable[[str, Json], Json]


def openai_answer(message: Json, reason: str = "stop") -> Json:
    """Return an answer of OpenAI's: 11 tokens in, 4 of them from the cache and 3 into it, and 7 out."""
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", **message}}
    details = {"cached_tokens": 4, "cache_write_tokens": 3}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "prompt_tokens_details": details}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [choice],
        "usage": usage,
    }


def _openai_words(text: str) -> Json:
    return openai_answer({"content": text}, "stop")


def _openai_call(name: str, arguments: Json) -> Json:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return openai_answer(
        {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}, "tool_calls"
    )


def _openai_results(body: Json) -> list[str]:
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


def anthropic_answer(*content: Json, reason: str = "end_turn") -> Json:
    """Return an answer of Anthropic's: 4 tokens in, 4 more from the cache and 3 into it, and 7 out."""
    usage = {"input_tokens": 4, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3, "output_tokens": 7}
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "served",
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _anthropic_words(text: str) -> Json:
    return anthropic_answer({"type": "text", "text": text})


def _anthropic_call(name: str, arguments: Json) -> Json:
    return anthropic_answer({"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments}, reason="tool_use")


def _anthropic_results(body: Json) -> list[str]:
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    found = [part["content"] for part in parts if part["type"] == "tool_result"]
    return [content if isinstance(content, str) else content[0]["text"] for content in found]


def google_answer(*parts: Json, reason: str = "STOP") -> Json:
    """Return an answer of Google's: 11 tokens in, 4 of them from the cache, and 7 out."""
    counts = {"promptTokenCount": 11, "cachedContentTokenCount": 4, "candidatesTokenCount": 7}
    usage = {**counts, "totalTokenCount": 18}
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "served", "responseId": "r"}


def _google_words(text: str) -> Json:
    return google_answer({"text": text})


def _google_call(name: str, arguments: Json) -> Json:
    return google_answer({"functionCall": {"name": name, "args": arguments}})


def _google_results(body: Json) -> list[str]:
    parts = [part for content in body["contents"] for part in content["parts"]]
    found = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
    return [str(next(iter(response.values()))) for response in found]
