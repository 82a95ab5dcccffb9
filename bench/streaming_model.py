"""The fake model provider for everybody: as subclaw's tests know it, and as a stream for clients that ask for one.

subclaw asks for whole answers, other products for streams. `python -m bench.streaming_model` serves on a free port and
prints it.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from subclaw.testing.openai import FakeOpenAi
from subclaw.testing.serving import serve_for_ever


def app() -> Starlette:
    """Return the application."""
    provider = FakeOpenAi().app()
    provider.add_middleware(Streamed)
    return provider


class Streamed:
    """Turns an answer of words into OpenAI's events, if the request asks for `stream`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        body = await Request(scope, receive).body() if scope["type"] == "http" else b""
        if not body or not json.loads(body).get("stream"):
            await self._app(scope, _again(body, receive), send)
            return
        answer = bytearray()
        status = 200

        async def keep(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            answer.extend(message.get("body", b""))

        whole = json.dumps({**json.loads(body), "stream": False}).encode()
        await self._app(scope, _again(whole, receive), keep)
        response = (
            Response(b"".join(_events(json.loads(answer))), media_type="text/event-stream")
            if status == 200
            else Response(bytes(answer), status_code=status, media_type="application/json")
        )
        await response(scope, receive, send)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which was read already."""
    given = False

    async def first_the_body() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first_the_body


def _events(completion: dict[str, Any]) -> Iterator[bytes]:
    """Say a whole answer in two chunks, one for what it costs, and the end."""
    (choice,) = completion["choices"]
    shared = {**completion, "object": "chat.completion.chunk", "usage": None}
    said = {"index": 0, "delta": choice["message"], "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    cost = {**shared, "choices": [], "usage": completion["usage"]}
    for chunk in ({**shared, "choices": [said]}, {**shared, "choices": [end]}, cost):
        yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


if __name__ == "__main__":
    asyncio.run(serve_for_ever(app()))
