"""The providers: which model answers, and the way to it, which leads through the egress gateway.

The key here is a placeholder: the gateway takes it out and puts the real one in.
"""

import httpx2
from pydantic_ai.models import Model as ProviderModel

from subclaw.core.model import Model
from subclaw.core.secret import PLACEHOLDER
from subclaw.models.choice import ModelChoice
from subclaw.models.pydantic_ai import PydanticAiModel


def open_model(choice: ModelChoice, gateway: httpx2.AsyncClient) -> Model:
    """Return the chosen model. `gateway` is a client whose every call goes through the egress gateway."""
    return PydanticAiModel(_provider_model(choice, gateway))


def _provider_model(choice: ModelChoice, gateway: httpx2.AsyncClient) -> ProviderModel:
    """Import only the provider that is used: each costs tens of megabytes."""
    url = f"{str(gateway.base_url).rstrip('/')}/{choice.provider}"
    match choice.provider:
        case "openai":
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.openai import OpenAIProvider

            openai = OpenAIProvider(base_url=url, api_key=PLACEHOLDER, http_client=gateway)
            return OpenAIChatModel(choice.model, provider=openai)
        case "anthropic":
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            anthropic = AnthropicProvider(base_url=url, api_key=PLACEHOLDER, http_client=gateway)
            return AnthropicModel(choice.model, provider=anthropic)
        case "google":
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google import GoogleProvider

            google = GoogleProvider(base_url=url, api_key=PLACEHOLDER, http_client=gateway)
            return GoogleModel(choice.model, provider=google)
        case _:
            from subclaw.models.demo.model import demo_model

            return demo_model()
