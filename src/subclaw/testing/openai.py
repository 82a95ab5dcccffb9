"""A model provider on loopback: OpenAI's chat completions, answered at once or by a play, and what it was sent.

`python -m subclaw.testing.openai` serves on a free port and prints it.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from anyio.from_thread import start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from subclaw.testing.serving import serving

ANSWER = "All is well."
HOLD_LIMIT_S = 60.0

Message = dict[str, Any]
"""A message of the chat completions API."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """An answer of words."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Calls:
    """An answer that makes tool calls: names and arguments, which are text and may be anything."""

    made: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An answer with an error's status."""

    status: int


@dataclass(frozen=True, kw_only=True)
class Held:
    """An answer that comes when it is let go. `asked` is set once it was asked for."""

    answer: "Answer"
    asked: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)


Answer = Words | Calls | Failure | Held


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

    A person's message that is a key of `plays` is answered by that play, any other by `ANSWER`. `bodies` keeps the last
    few requests; `keys` the credentials they came with.
    """

    requests: int = 0
    bodies: list[bytes] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    plays: dict[str, Play] = field(default_factory=dict)
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
                if isinstance(answer, Held):
                    answer.let_go.set()

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
        asked = json.loads(body)
        answer = self._next_answer(asked["messages"])
        while isinstance(answer, Held):
            answer.asked.set()
            await asyncio.to_thread(answer.let_go.wait, HOLD_LIMIT_S)
            answer = answer.answer
        if isinstance(answer, Failure):
            return JSONResponse({"error": {"message": "not now", "type": "fake"}}, status_code=answer.status)
        return JSONResponse(_completion(asked["model"], len(body) // 4, answer))

    def _next_answer(self, messages: list[Message]) -> Answer:
        said: str = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
        play = self.plays.get(said)
        if play is None:
            return Words(text=ANSWER)
        play.prompts.append(messages)
        step: int = sum(message["role"] == "assistant" for message in _since_said(messages))
        return play.answers[min(step, len(play.answers) - 1)]

    async def _stats(self, request: Request) -> Response:
        return JSONResponse({"requests": self.requests, "body_bytes": [len(body) for body in self.bodies]})


def _since_said(messages: Sequence[Message]) -> Sequence[Message]:
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return messages[last + 1 :]


def _completion(model: str, prompt_tokens: int, answer: Words | Calls) -> dict[str, Any]:
    message: Message = {"role": "assistant", "content": answer.text if isinstance(answer, Words) else None}
    if isinstance(answer, Calls):
        message["tool_calls"] = [
            {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(answer.made)
        ]
    finish_reason = "tool_calls" if isinstance(answer, Calls) else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 4, "total_tokens": prompt_tokens + 4},
    }


@contextmanager
def running_openai() -> Iterator[FakeOpenAi]:
    """Serve the provider in a thread of its own for the life of the block, whatever loops run meanwhile."""
    fake = FakeOpenAi()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving(fake.app())) as fake.port:
        try:
            yield fake
        finally:
            fake.let_go()


async def _serve() -> None:
    # The protocol is named so that the loop turns Nagle's delay off.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)  # noqa: T201  # whoever started it reads the port
        config = uvicorn.Config(FakeOpenAi().app(), log_level="warning", access_log=False)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(_serve())
