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

from subclaw.testing.openai import chunks

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
        answer = made.words(f"I saw {found[-1]}.") if found else made.call(CALL_NAME, CALL_ARGUMENTS)
        if body.get("stream") or "stream" in request.url.path:
            return Response(made.stream(answer), media_type="text/event-stream")
        return JSONResponse(answer)

    def app(self) -> Starlette:
        """Return an application that speaks all the protocols, each at its provider's own path."""

        def route(path: str, results: Callable[[Json], list[str]], made: Made) -> Route:
            async def endpoint(request: Request) -> Response:
                return await self.answer(request, results, made)

            handler: Callable[[Request], Awaitable[Response]] = endpoint
            return Route(path, handler, methods=["POST"])

        return Starlette(
            routes=[
                route("/v1/chat/completions", _openai_results, OPENAI),
                route("/v1/messages", _anthropic_results, ANTHROPIC),
                route("/v1beta/models/{call:path}", _google_results, GOOGLE),
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Made:
    """How a protocol writes an answer, and how it streams one."""

    words: Callable[[str], Json]
    call: Callable[[str, Json], Json]
    stream: Callable[[Json], bytes]


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


def openai_stream(answer: Json) -> bytes:
    """Return an answer of OpenAI's as its events."""
    return b"".join(chunks(answer))


def anthropic_stream(answer: Json) -> bytes:
    """Return an answer of Anthropic's as its events: texts and arguments in two pieces."""
    begun = {**answer, "content": [], "stop_reason": None, "usage": {**answer["usage"], "output_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(answer["content"]):
        kind, name, whole = ("text_delta", "text", block.get("text", ""))
        empty = {**block, "text": ""}
        if block["type"] == "tool_use":
            kind, name, whole = "input_json_delta", "partial_json", json.dumps(block["input"])
            empty = {**block, "input": {}}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        deltas = ({"type": kind, name: piece} for piece in _halves(whole))
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    events += [{"type": "message_delta", "delta": end, "usage": answer["usage"]}, {"type": "message_stop"}]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def google_stream(answer: Json) -> bytes:
    """Return an answer of Google's as its events: texts in two pieces."""
    (candidate,) = answer["candidates"]
    parts: list[Json] = []
    for part in candidate["content"]["parts"]:
        parts += [{"text": piece} for piece in _halves(part["text"])] if "text" in part else [part]
    said = [
        {**answer, "candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]} for part in parts[:-1]
    ]
    last = {**answer, "candidates": [{**candidate, "content": {"role": "model", "parts": parts[-1:]}}]}
    return "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in (*said, last)).encode()


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


OPENAI = Made(words=_openai_words, call=_openai_call, stream=openai_stream)
ANTHROPIC = Made(words=_anthropic_words, call=_anthropic_call, stream=anthropic_stream)
GOOGLE = Made(words=_google_words, call=_google_call, stream=google_stream)
