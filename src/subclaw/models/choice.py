"""Which model answers: the operator's choice, in text and as a value."""

from collections.abc import Collection
from dataclasses import dataclass

from subclaw.core.errors import Invalid
from subclaw.core.upstream import Upstream


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A provider and one of its models."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}" if self.model else self.provider


DEMO = ModelChoice(provider="demo", model="")

DEFAULT_MODELS = {"openai": "gpt-6-luna", "anthropic": "claude-sonnet-5-5", "google": "gemini-3.8-flash"}
"""What a provider's key alone gets; `SUBCLAW_MODEL` says otherwise."""


def parse_choice(text: str, setting: str = "SUBCLAW_MODEL") -> ModelChoice:
    """Parse `provider:model`, a provider alone, or `demo`. Errors: `Invalid`, which names the setting."""
    provider, _, model = text.strip().partition(":")
    if provider == "demo" and not model:
        return DEMO
    if provider not in DEFAULT_MODELS:
        known = ", ".join(DEFAULT_MODELS)
        raise Invalid(f"{setting} is {text!r}; it must be provider:model with one of {known}, or demo.")
    return ModelChoice(provider=provider, model=model or DEFAULT_MODELS[provider])


def usable_providers(upstreams: Collection[Upstream]) -> tuple[str, ...]:
    """Return the model providers that can be asked: those with a key, and servers of one's own, which may need none."""
    return tuple(
        upstream.name
        for upstream in upstreams
        if upstream.name in DEFAULT_MODELS and (upstream.secret or upstream.base_url.startswith("http:"))
    )


def usable_choice(name: str, providers: Collection[str]) -> ModelChoice:
    """Parse a model's name, and see that its provider is one of those that can be asked. Errors: `Invalid`."""
    choice = parse_choice(name, "The model")
    if choice != DEMO and choice.provider not in providers:
        variable = choice.provider.upper()
        usable = f"subclaw can ask {', '.join(providers)}" if providers else "subclaw can ask none"
        raise Invalid(
            f"{choice} cannot be asked: {usable}. Start subclaw with {variable}_API_KEY, "
            f"or with {variable}_BASE_URL for a server of your own."
        )
    return choice
