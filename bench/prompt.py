"""The prompt: what a model is sent for "hi there", with all built-in tools, by each provider's protocol.

For each provider a real `subclaw up` in a state folder of its own, and a fake of the provider that counts.
Last line: JSON with prompt_bytes_hello (the largest of them), and by model its bytes, those of the system text and the
tools in it, and tokens, estimated as the product does (`core/tokens.py`: providers' own tokenizers are not at hand).
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.turns import box, converse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from subclaw.core.tokens import text_tokens
from subclaw.testing.providers import FakeProvider
from subclaw.testing.serving import serving

PATHS = {"openai": "/v1", "anthropic": "", "google": ""}
MODELS = {"openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}


@dataclass(frozen=True, kw_only=True)
class Counting:
    """An application, and the bodies that it was sent."""

    app: ASGIApp
    bodies: list[bytearray] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and keep its body."""
        body = bytearray()
        self.bodies.append(body)

        async def kept() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        await self.app(scope, kept, send)


def hello(provider: str, port: int) -> None:
    """Say "hi there" in a box whose model is this provider's."""
    settings = {
        "SUBCLAW_MODEL": f"{provider}:{MODELS[provider]}",
        f"{provider.upper()}_API_KEY": "bench",
        f"{provider.upper()}_BASE_URL": f"http://127.0.0.1:{port}{PATHS[provider]}",
    }
    with box(settings) as (_, url):
        asyncio.run(converse(url, 1))


async def first_body(provider: str) -> bytes:
    """Return the first request that a provider is sent."""
    counting = Counting(app=FakeProvider().app())
    async with serving(counting) as port:
        await asyncio.to_thread(hello, provider, port)
    return bytes(counting.bodies[0])


def parts(asked: Mapping[str, Any]) -> Sequence[object]:
    """Return the system text and the tools of a request."""
    system = asked.get("system") or asked.get("systemInstruction") or asked["messages"][0]["content"]
    return system, asked["tools"]


def measured(body: bytes) -> dict[str, int]:
    """Return the figures of a request."""
    system, tools = (
        len(json.dumps(part, ensure_ascii=False, separators=(",", ":"))) for part in parts(json.loads(body))
    )
    return {"bytes": len(body), "system_bytes": system, "tools_bytes": tools, "tokens": text_tokens(body.decode())}


def main() -> None:
    """Measure, and print a line for each provider and the JSON."""
    by_model = {}
    for provider, model in MODELS.items():
        by_model[f"{provider}:{model}"] = figures = measured(asyncio.run(first_body(provider)))
        sys.stdout.write(f"{provider}:{model} {figures}\n")
    largest = max(figures["bytes"] for figures in by_model.values())
    sys.stdout.write(json.dumps({"prompt_bytes_hello": largest, "by_model": by_model}) + "\n")


if __name__ == "__main__":
    main()
