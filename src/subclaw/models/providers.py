"""The providers: which model answers, and the way to it, which leads through the egress gateway.

The keys here are placeholders: the gateway takes them out and puts the real ones in.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from subclaw.core.model import Model
from subclaw.models.choice import ModelChoice
from subclaw.models.pydantic_ai import TIMEOUT_S, PydanticAiModel

PLACEHOLDER = "subclaw-placeholder"
CONNECTIONS = 200
GATEWAY = "http://egress"


@asynccontextmanager
async def open_model(choice: ModelChoice, gateway: Path) -> AsyncIterator[Model]:
    """Yield the chosen model, reached through the gateway's socket, for the life of the block.

    Only the provider that is used is imported: each costs tens of megabytes.
    """
    match choice.provider:
        case "openai":
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.openai import OpenAIProvider

            async with _client(gateway) as client:
                openai = OpenAIProvider(base_url=f"{GATEWAY}/openai", api_key=PLACEHOLDER, http_client=client)
                yield PydanticAiModel(OpenAIChatModel(choice.model, provider=openai))
        case "anthropic":
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            async with _client(gateway) as client:
                anthropic = AnthropicProvider(base_url=f"{GATEWAY}/anthropic", api_key=PLACEHOLDER, http_client=client)
                yield PydanticAiModel(AnthropicModel(choice.model, provider=anthropic))
        case "google":
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google import GoogleProvider

            async with _client(gateway) as client:
                google = GoogleProvider(base_url=f"{GATEWAY}/google", api_key=PLACEHOLDER, http_client=client)
                yield PydanticAiModel(GoogleModel(choice.model, provider=google))
        case _:
            from subclaw.models.demo.model import demo_model

            yield PydanticAiModel(demo_model())


def _client(gateway: Path) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    return httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(gateway), limits=limits), timeout=TIMEOUT_S)
