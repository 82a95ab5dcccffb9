"""The providers: which models answer, and the way to them, which leads through the egress gateway.

The key here is a placeholder: the gateway takes it out and puts the real one in.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
from pydantic_ai.models import Model as ProviderModel
from pydantic_ai.settings import ModelSettings

from subclaw.core.agent import AgentSettings
from subclaw.core.model import Model, Prompt, UserSaid, reply_limit_tokens
from subclaw.core.secret import PLACEHOLDER
from subclaw.core.upstream import Upstream
from subclaw.models.bounds import bound_answers
from subclaw.models.choice import DEMO, ModelChoice, parse_choice
from subclaw.models.failover import Failover
from subclaw.models.patience import Patience
from subclaw.models.prices import UNKNOWN_WINDOW_TOKENS, Prices
from subclaw.models.pydantic_ai import PydanticAiModel
from subclaw.models.spared import adapt_tools_once, send_as_is

log = logging.getLogger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
"""Where OpenAI itself is. Servers that only speak its protocol may refuse what is told to it of caches."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """The models of an agent: the chosen one, with those that stand in for it, and one for when money gets short.

    A prompt of `window_tokens` fits all of them.
    """

    chosen: Model
    cheaper: Model | None
    window_tokens: int


def open_models(
    choice: ModelChoice, agent: AgentSettings, gateway: httpx2.AsyncClient, upstreams: Collection[Upstream]
) -> Models:
    """Return an agent's models. `gateway` is a client whose every call goes through the egress gateway to `upstreams`.

    The cheaper one is stood in for as well, by the chosen one first: who runs short of money is answered all the same.
    """
    patience = Patience(attempt_s=agent.model_limit_s, call_s=2.5 * agent.model_limit_s)
    ways = {upstream.name: upstream for upstream in upstreams}
    wanted = [choice, *(parse_choice(text, "fallback") for text in agent.fallback)]
    cheaper = [parse_choice(agent.cheaper, "cheaper")] if agent.cheaper else []
    prices = Prices(own=agent.prices, windows=agent.windows)
    for unknown in prices.unpriced(map(str, [*cheaper, *wanted])):
        log.warning("nobody knows what %s costs: it counts as dear until agent.toml has its price", unknown)
    for each in dict.fromkeys([*wanted, *cheaper]):
        if (way := ways.get(each.provider)) and not way.secret and way.base_url.startswith("https:"):
            log.warning("%s has no key, and will hardly answer: set %s_API_KEY", each, each.provider.upper())

    def opened(each: ModelChoice) -> Model:
        official = each.provider == "openai" and ways["openai"].base_url == OPENAI_URL
        window_tokens = prices.window_tokens(str(each))
        return open_model(each, gateway, patience=patience, official=official, window_tokens=window_tokens)

    models = {str(each): opened(each) for each in [*wanted, *cheaper]}
    chosen = _one_of([(str(each), models[str(each)]) for each in wanted], patience)
    window_tokens = min(map(prices.window_tokens, models))
    if not cheaper:
        return Models(chosen=chosen, cheaper=None, window_tokens=window_tokens)
    return Models(
        chosen=chosen,
        cheaper=_one_of([(str(each), models[str(each)]) for each in [*cheaper, *wanted]], patience),
        window_tokens=window_tokens,
    )


def _one_of(models: Sequence[tuple[str, Model]], patience: Patience) -> Model:
    """Return models as one; each once, and a single one as it is."""
    once = list(dict(models).items())
    return once[0][1] if len(once) == 1 else Failover(once, call_s=patience.call_s)


def open_model(
    choice: ModelChoice,
    gateway: httpx2.AsyncClient,
    *,
    window_tokens: int = UNKNOWN_WINDOW_TOKENS,
    patience: Patience | None = None,
    official: bool = False,
) -> Model:
    """Return one model by itself. `official` says that OpenAI itself is meant, not what only speaks its protocol."""
    bound_answers(gateway)
    model = _provider_model(choice, gateway)
    adapt_tools_once(model)
    return PydanticAiModel(
        model,
        choice=str(choice),
        patience=patience or Patience(),
        reply_limit_tokens=reply_limit_tokens(window_tokens),
        settings=_cache_settings(choice.provider, official=official),
        streams=choice != DEMO,
    )


def audit_client(socket: Path) -> httpx2.AsyncClient:
    """Return a client of the server that plays the adversary in an audit of isolation, which has no key; close it."""
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    return httpx2.AsyncClient(transport=transport, base_url="http://audit", trust_env=False)


def open_audit_model(client: httpx2.AsyncClient) -> Model:
    """Return that server as a model."""
    return open_model(ModelChoice(provider="openai", model="audit"), client)


def _cache_settings(provider: str, *, official: bool) -> Callable[[Prompt], ModelSettings]:
    """Return what a provider is told of its cache: tools, instructions and history come again with each step."""

    def of_openai(prompt: Prompt) -> ModelSettings:
        from pydantic_ai.models.openai import OpenAIChatModelSettings

        return OpenAIChatModelSettings(cache=True, openai_prompt_cache_key=_cache_key(prompt))

    def marked(_: Prompt) -> ModelSettings:
        return ModelSettings(cache=True)

    def unmarked(_: Prompt) -> ModelSettings:
        return ModelSettings()

    if provider == "openai":
        return of_openai if official else unmarked
    return marked if provider == "anthropic" else unmarked


def _cache_key(prompt: Prompt) -> str:
    """Return what the prompts of one conversation have in common and others do not: a digest of how they begin."""
    first = next((utterance.text for utterance in prompt.history[:1] if isinstance(utterance, UserSaid)), "")
    return hashlib.sha256(f"{prompt.instructions}\0{first}".encode("utf-8", "replace")).hexdigest()[:32]


def _provider_model(choice: ModelChoice, gateway: httpx2.AsyncClient) -> ProviderModel:
    """Import only the providers that are used: each costs tens of megabytes. None of their clients retries."""
    url = f"{str(gateway.base_url).rstrip('/')}/{choice.provider}"
    match choice.provider:
        case "openai":
            from openai import AsyncOpenAI
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.openai import OpenAIProvider

            from subclaw.models.openai_chat import send_directly

            openai = AsyncOpenAI(base_url=url, api_key=PLACEHOLDER, http_client=gateway, max_retries=0)
            send_directly(openai, gateway)
            return OpenAIChatModel(choice.model, provider=OpenAIProvider(openai_client=openai))
        case "anthropic":
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            anthropic = AsyncAnthropic(base_url=url, api_key=PLACEHOLDER, http_client=gateway, max_retries=0)
            send_as_is(anthropic.beta.messages)
            return AnthropicModel(choice.model, provider=AnthropicProvider(anthropic_client=anthropic))
        case "google":
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google import GoogleProvider

            google = GoogleProvider(base_url=url, api_key=PLACEHOLDER, http_client=gateway)
            return GoogleModel(choice.model, provider=google)
        case _:
            from subclaw.models.demo.model import demo_model

            return demo_model()
