"""What the business benchmark has outside the box: a model provider that takes its time, and the shop's own API.

The provider speaks OpenAI's chat completions. It calls the agent's three tools one after the other, then says what they
told it, and answers each time 5 seconds after it was asked. `python -m bench.business_world` serves both on a free port
and prints it.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.business_agent import CALLS, bound_canary, canaries_in, customer_of, order_of, strangers_in
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from subclaw.testing.serving import serve_for_ever

LATENCY_S = 5.0
MODEL_CALLS = len(CALLS) + 1
"""How often a turn asks the model: once for each tool, and for the answer."""


@dataclass(kw_only=True)
class World:
    """The provider and the shop. `crossed` counts canaries of others in prompts, `wrong` results that are not what a
    tool says; `late_s` is how much later than it should have the provider answered."""

    counts: Counter[str] = field(default_factory=Counter)
    late_s: list[float] = field(default_factory=list)

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.complete, methods=["POST"]),
                Route("/shop/orders/{order}", self.order),
                Route("/stats", self.stats),
            ]
        )

    async def complete(self, request: Request) -> JSONResponse:
        """Answer a chat completion."""
        body = await request.body()
        answers_at_s = time.monotonic() + LATENCY_S
        asked = json.loads(body)
        messages: list[dict[str, Any]] = asked["messages"]
        last = max(index for index, message in enumerate(messages) if message["role"] == "user")
        said = str(messages[last]["content"])
        results = [str(message["content"]) for message in messages[last:] if message["role"] == "tool"]
        self._look(body.decode(), said, results)
        answer = _completion(asked["model"], _message(said, results))
        await asyncio.sleep(answers_at_s - time.monotonic())
        self.late_s.append(time.monotonic() - answers_at_s)
        return JSONResponse(answer)

    def _look(self, prompt: str, said: str, results: list[str]) -> None:
        customer, order = customer_of(said), order_of(said)
        self.counts["prompts"] += 1
        self.counts["crossed"] += strangers_in(prompt, customer)
        self.counts["wrong"] += sum(bound_canary(customer) not in each or order not in each for each in results)

    async def order(self, request: Request) -> JSONResponse:
        """Answer the operation."""
        self.counts["orders"] += 1
        whose = request.query_params["canary"]
        return JSONResponse({"order": request.path_params["order"], "state": "shipped", "of": whose})

    async def stats(self, _: Request) -> JSONResponse:
        """Tell what was counted; lateness begins anew."""
        late_s, self.late_s = sorted(self.late_s), []
        late_ms = 1000 * late_s[len(late_s) * 99 // 100] if late_s else 0.0
        return JSONResponse({**self.counts, "late_p99_ms": late_ms})


def _message(said: str, results: list[str]) -> dict[str, Any]:
    """Return what the model says next: a call, or the answer, with whatever canaries it was told."""
    if len(results) == len(CALLS):
        told = " ".join(sorted(canaries_in(" ".join(results))))
        return {"role": "assistant", "content": f"{order_of(said)} comes on Monday. {told}"}
    called = {"name": CALLS[len(results)], "arguments": json.dumps({"order_id": order_of(said)})}
    call = {"id": "call_0", "type": "function", "function": called}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _completion(model: str, message: dict[str, Any]) -> dict[str, Any]:
    reason = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 20, "total_tokens": 420},
    }


if __name__ == "__main__":
    asyncio.run(serve_for_ever(World().app()))
