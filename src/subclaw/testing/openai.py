"""A model provider on loopback: OpenAI's chat completions, answered at once, and the sizes of what it was sent.

`python -m subclaw.testing.openai` serves on a free port and prints it.
"""

import asyncio
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ANSWER = "All is well."


@dataclass(kw_only=True)
class FakeOpenAi:
    """What the provider was asked. `bodies` keeps the last few requests; `keys` the credentials they came with."""

    requests: int = 0
    bodies: list[bytes] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

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
        return JSONResponse(_completion(json.loads(body)["model"], len(body) // 4))

    async def _stats(self, request: Request) -> Response:
        return JSONResponse({"requests": self.requests, "body_bytes": [len(body) for body in self.bodies]})


def _completion(model: str, prompt_tokens: int) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 4, "total_tokens": prompt_tokens + 4},
    }


async def _serve() -> None:
    # The protocol is named so that the loop turns Nagle's delay off.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)  # noqa: T201  # whoever started it reads the port
        config = uvicorn.Config(FakeOpenAi().app(), log_level="warning", access_log=False)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(_serve())
