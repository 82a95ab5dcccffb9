"""A model provider on loopback: OpenAI's chat completions, by a play or always the same, and what it was sent.

It is as strict as OpenAI with what it is sent, and can be made to misbehave in each way that is known of providers.

`python -m subclaw.testing.openai` serves on a free port and prints it.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from subclaw.testing.broken import BrokenOff, Dripping
from subclaw.testing.serving import serve_for_ever, serving

ANSWER = "All is well."
NUDGE_BEGINS = "[Nobody wrote. Your last answer"
"""How that begins which the product says to a model that said nothing: it belongs to the message before it."""
HOLD_LIMIT_S = 60.0

Message = dict[str, Any]
"""A message of the chat completions API."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """An answer of words; with the reason "length" they are cut off, with "content_filter" withheld.

    In a stream there is a pause of `pause_s` after each.
    """

    text: str
    finish_reason: str = "stop"
    pause_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Calls:
    """An answer that makes tool calls: names and arguments, which are text and may be anything."""

    made: tuple[tuple[str, str], ...]
    finish_reason: str = "tool_calls"


@dataclass(frozen=True, kw_only=True)
class Declined:
    """A refusal, in the model's words."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An answer with an error's status. `code` is OpenAI's name for what is wrong."""

    status: int
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """An answer with a good status that is not of the protocol."""

    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """An answer that ends in the middle, with its connection; or, if it `drips`, one that comes byte by byte."""

    answer: Words | Calls
    drips: bool = False


@dataclass(frozen=True, kw_only=True)
class Held:
    """An answer that comes when it is let go. `asked` is set once it was asked for."""

    answer: "Answer"
    asked: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)


@dataclass(kw_only=True)
class InTurn:
    """Another answer each time that the same is asked; the last one stays."""

    answers: Sequence["Answer"]
    asked: int = 0

    def next_answer(self) -> "Answer":
        """Return the answer whose turn it is."""
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


Answer = Words | Calls | Declined | Failure | Garbage | Broken | Held | InTurn


def call(name: str, **arguments: Any) -> Calls:
    """Return an answer that makes one proper tool call."""
    return Calls(made=((name, json.dumps(arguments)),))


@dataclass(kw_only=True)
class Play:
    """The answers to one message of a person, one a step, and the prompts that asked for them.

    Which step it is shows in the prompt, so a request that comes again gets the same answer again.
    """

    answers: Sequence[Answer]
    prompts: list[list[Message]] = field(default_factory=list)

    def told(self) -> list[str]:
        """Return what the model was told of its tool calls in this play, as of the last prompt."""
        return [str(message["content"]) for message in _since_said(self.prompts[-1]) if message["role"] == "tool"]


@dataclass(kw_only=True)
class FakeOpenAi:
    """What the provider answers and was asked.

    A person's message that is a key of `plays` is answered by that play, any other by `otherwise`, an answer a step.
    `bodies` keeps the last few requests, `times_s` when they came; `keys` the credentials they came with; `streamed`
    counts those that asked for a stream.
    """

    requests: int = 0
    streamed: int = 0
    bodies: list[bytes] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    plays: dict[str, Play] = field(default_factory=dict)
    otherwise: Sequence[Answer] = (Words(text=ANSWER),)
    port: int = 0

    @property
    def base_url(self) -> str:
        """What the product is given as `OPENAI_BASE_URL`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def play(self, said: str, *answers: Answer) -> Play:
        """Say how a person's message is answered."""
        self.plays[said] = Play(answers=answers)
        return self.plays[said]

    def let_go(self) -> None:
        """Let every held answer go."""
        for play in self.plays.values():
            for answer in play.answers:
                for one in answer.answers if isinstance(answer, InTurn) else (answer,):
                    if isinstance(one, Held):
                        one.let_go.set()

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/stats", self._stats),
            ]
        )

    async def _complete(self, request: Request) -> Response:
        body = await request.body()
        self.requests += 1
        self.bodies = [*self.bodies[-9:], body]
        self.keys.add(request.headers.get("authorization", ""))
        self.times_s = [*self.times_s[-9:], time.monotonic()]
        asked = json.loads(body)
        if complaint := _complaint(asked["messages"]):
            return JSONResponse({"error": {"message": complaint, "type": "invalid_request_error"}}, status_code=400)
        answer = self._next_answer(asked["messages"])
        while isinstance(answer, Held | InTurn):
            if isinstance(answer, InTurn):
                answer = answer.next_answer()
                continue
            answer.asked.set()
            await asyncio.to_thread(answer.let_go.wait, HOLD_LIMIT_S)
            answer = answer.answer
        self.streamed += bool(asked.get("stream"))
        return _response(answer, asked["model"], len(body) // 4, stream=bool(asked.get("stream")))

    def _next_answer(self, messages: list[Message]) -> Answer:
        said: str = next((message["content"] for message in reversed(messages) if _is_said(message)), "")
        play = self.plays.get(said)
        if play is not None:
            play.prompts.append(messages)
        answers = self.otherwise if play is None else play.answers
        step: int = sum(message["role"] == "assistant" for message in _since_said(messages))
        return answers[min(step, len(answers) - 1)]

    async def _stats(self, request: Request) -> Response:
        body_bytes = [len(body) for body in self.bodies]
        return JSONResponse({"requests": self.requests, "streamed": self.streamed, "body_bytes": body_bytes})


def _since_said(messages: Sequence[Message]) -> Sequence[Message]:
    last = max((index for index, message in enumerate(messages) if _is_said(message)), default=-1)
    return messages[last + 1 :]


def _is_said(message: Message) -> bool:
    return message["role"] == "user" and not str(message["content"]).startswith(NUDGE_BEGINS)


def _complaint(messages: Sequence[Message]) -> str:
    """Return what OpenAI says of messages that it does not accept; empty for those that it does."""
    for index, message in enumerate(messages):
        made: list[Message] = message.get("tool_calls") or []
        ids = {call["id"] for call in made}
        following = messages[index + 1 : index + 1 + len(ids)]
        if {result.get("tool_call_id") for result in following} != ids:
            return "An assistant message with 'tool_calls' must be followed by tool messages responding to each."
        if not all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", call["function"]["name"]) for call in made):
            return "Invalid 'tool_calls.function.name': string does not match pattern."
        if not all(_is_object(call["function"]["arguments"]) for call in made):
            return "Invalid 'tool_calls.function.arguments': expected a JSON object."
    return ""


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _response(
    answer: Words | Calls | Declined | Failure | Garbage | Broken, model: str, prompt_tokens: int, *, stream: bool
) -> Response:
    match answer:
        case Failure(status=status, code=code, headers=headers):
            error = {"message": "not now", "type": "fake", "code": code}
            return JSONResponse({"error": error}, status_code=status, headers=headers)
        case Garbage(body=body, content_type=content_type):
            return Response(body, media_type=content_type)
    whole = answer.answer if isinstance(answer, Broken) else answer
    content, media_type = _content(_completion(model, prompt_tokens, whole), stream=stream)
    if isinstance(answer, Broken):
        return (Dripping if answer.drips else BrokenOff)(content, media_type=media_type)
    if stream and isinstance(answer, Words) and answer.pause_s:
        return StreamingResponse(_slowly(content, answer.pause_s), media_type=media_type)
    return Response(content, media_type=media_type)


def _content(completion: dict[str, Any], *, stream: bool) -> tuple[bytes, str]:
    """Return a completion as the body of a response, and of which type that is."""
    if stream:
        return b"".join(chunks(completion)), "text/event-stream"
    return json.dumps(completion).encode(), "application/json"


async def _slowly(content: bytes, pause_s: float) -> AsyncIterator[bytes]:
    for event in content.split(b"\n\n"):
        yield event + b"\n\n"
        await asyncio.sleep(pause_s)


def chunks(completion: dict[str, Any]) -> Iterator[bytes]:
    """Say a completion as OpenAI's events: a word each, or a piece of a call's arguments, and at last what it costs."""
    (choice,) = completion["choices"]
    shared = {**completion, "object": "chat.completion.chunk", "usage": None}
    message: Message = choice["message"]
    deltas: list[Message] = [{"role": "assistant"}]
    deltas += [{"content": word} for word in re.findall(r"\s*\S+|\s+\Z", message.get("content") or "")]
    deltas += [{"refusal": message["refusal"]}] if "refusal" in message else []
    for index, call in enumerate(message.get("tool_calls", ())):
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        deltas.append({"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in (arguments[:half], arguments[half:])
        ]
    said = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    for chunk in (*({**shared, "choices": [one]} for one in (*said, end)), {**completion, **_NO_CHOICES}):
        yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


_NO_CHOICES: Mapping[str, Any] = {"object": "chat.completion.chunk", "choices": []}


def _completion(model: str, prompt_tokens: int, answer: Words | Calls | Declined) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(answer)],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 4, "total_tokens": prompt_tokens + 4},
    }


def _choice(answer: Words | Calls | Declined) -> dict[str, Any]:
    match answer:
        case Declined(text=text):
            declined: Message = {"role": "assistant", "content": None, "refusal": text}
            return {"index": 0, "message": declined, "finish_reason": "stop"}
        case Words(text=text, finish_reason=reason):
            return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        case Calls(made=made, finish_reason=reason):
            calls = [
                {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for number, (name, arguments) in enumerate(made)
            ]
            message: Message = {"role": "assistant", "content": None, "tool_calls": calls}
            return {"index": 0, "message": message, "finish_reason": reason}


@contextmanager
def running_openai() -> Iterator[FakeOpenAi]:
    """Serve the provider in a thread of its own for the life of the block, whatever loops run meanwhile."""
    fake = FakeOpenAi()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving(fake.app())) as fake.port:
        try:
            yield fake
        finally:
            fake.let_go()


if __name__ == "__main__":
    asyncio.run(serve_for_ever(FakeOpenAi().app()))
